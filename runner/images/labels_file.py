"""Which images a data set has, and what is known of each, from a CSV file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ParameterError, did_you_mean
from runner.images.labels import SUFFIXES, ImageTable, LabelledImage, ordered_classes, quoted, shown
from runner.plain_text import clipped, escaped

GROUP_COLUMNS = ("patient", "patient_id", "group")
"""Columns that are taken for the patient of an image when none is named."""

_MAX_NAMED = 5


@dataclass(frozen=True)
class LabelColumns:
    """The names of the columns of a labels file."""

    image: str = "image"
    """File of the image; its ending may be left out."""
    label: str = "label"
    group: str | None = None
    """The patient; None: one of ``GROUP_COLUMNS``, where there is one, else every image is a group of its own."""
    slice: str = "slice"
    """Slice of a volume, from 0; the column may be missing, and a field empty."""


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    label: str
    group: str
    """Empty where it is not known."""
    frame: int | None


@dataclass(frozen=True)
class _Place:
    path: Path
    real: Path
    """Without links."""


def read_labels_file(file: Path, folder: Path, columns: LabelColumns, class_names: Sequence[str] = ()) -> ImageTable:
    """Return the images that a CSV file names, in its order; of rows that say the same, the first.

    What is one file, under whatever names and links, is one image.

    Args:
        file: UTF-8; the names of the columns in the first line, and commas, semicolons or tabs between them.
        folder: What the names of images are relative to.
        columns: The names of the columns.
        class_names: The classes in order; empty: sorted, as numbers where they are.

    Raises:
        ParameterError: it is no such file, a column or an image is missing, a name leads out of *folder* or means two
            files, or an image has two labels or patients.
    """
    rows = list(_rows(file, columns))
    found = {row.label for row in rows}
    if len(found) < 2:
        raise ParameterError(f"{shown(file)} has {len(found)} class in {columns.label!r}; at least 2 are needed.")
    classes = ordered_classes(found, class_names, f"the labels of {shown(file)}")
    places = _find_files(rows, folder, file)
    kept: dict[tuple[Path, int | None], _Row] = {}
    volumes: dict[Path, str] = {}
    for row in rows:
        real = places[row.image].real
        volumes.setdefault(real, row.image)
        first = kept.setdefault((real, row.frame), row)
        for one, other in ((first.label, row.label), (first.group, row.group)):
            if one != other:
                raise ParameterError(
                    f"{shown(file)}: {quoted(row.image)} is {quoted(one)} in line {first.line} "
                    f"and {quoted(other)} in line {row.line}."
                )
    numbers = {name: number for number, name in enumerate(classes)}
    images = [
        LabelledImage(places[row.image].path, row.image, numbers[row.label], row.group or volumes[real], row.frame)
        for (real, _), row in kept.items()
    ]
    return ImageTable(images, classes)


def _rows(file: Path, columns: LabelColumns) -> Iterator[_Row]:
    lines = _lines(file)
    _, header = next(lines, (1, []))
    places = _find_columns([name.strip() for name in header], columns, file)
    for line, fields in lines:
        if len(fields) != len(header):
            raise _error(file, line, f"{len(fields)} fields, where the first line has {len(header)}")
        row = {what: fields[place].strip() for what, place in places.items()}
        for what in ("image", "label"):
            if not row[what]:
                raise _error(file, line, f"{getattr(columns, what)!r} is empty")
        frame = row.get("slice", "")
        if frame and not (frame.isdecimal() and len(frame) < 10):
            raise _error(file, line, f"{quoted(frame)} is no number of a slice, counted from 0")
        yield _Row(line, row["image"], row["label"], row.get("group", ""), int(frame) if frame else None)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its fields."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ParameterError(f"labels_file: {shown(file)} cannot be read as UTF-8 text: {error}.") from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        for fields in reader:
            if any(fields):
                yield reader.line_num, fields
    except csv.Error as error:
        raise _error(file, reader.line_num, str(error)) from None


def _find_columns(header: list[str], columns: LabelColumns, file: Path) -> dict[str, int]:
    """Return where the columns are; ``group`` and ``slice`` only where there is one."""
    wanted = {"image": columns.image, "label": columns.label}
    group = columns.group or next((name for name in GROUP_COLUMNS if name in header), None)
    if group is not None:
        wanted["group"] = group
    for what, name in wanted.items():
        if name not in header:
            raise ParameterError(
                f"{what}_column: {shown(file)} has no column {name!r}.{did_you_mean(name, map(escaped, header))} "
                f"It has {clipped(', '.join(map(quoted, header)) or 'no first line', 400)}."
            )
    if columns.slice in header:
        wanted["slice"] = columns.slice
    return {what: header.index(name) for what, name in wanted.items()}


def _find_files(rows: Iterable[_Row], folder: Path, file: Path) -> dict[str, _Place]:
    """Return the file of each name.

    Raises:
        ParameterError: a name leads out of the folder or means two files, or files are missing.
    """
    places: dict[str, _Place] = {}
    names: dict[Path, dict[str, list[str]]] = {}
    real: dict[Path, Path] = {}
    missing: list[_Row] = []
    for row in rows:
        below = Path(os.path.normpath(row.image))
        if below.is_absolute():
            below = Path(os.path.relpath(below, folder))
        if "\0" in row.image or below.parts[:1] == ("..",):
            raise _error(file, row.line, f"{quoted(row.image)} leads out of {shown(folder)}")
        path = folder / below
        if path.parent not in names:
            names[path.parent] = _names_in(path.parent)
            real[path.parent] = Path(os.path.realpath(path.parent))
        meant = names[path.parent].get(path.name, [])
        if len(meant) > 1:
            raise _error(file, row.line, f"{quoted(row.image)} may be {' or '.join(map(quoted, meant))}: say which")
        if not meant:
            missing.append(row)
        found = path.parent / (meant[0] if meant else path.name)
        is_link = found.is_symlink()
        places[row.image] = _Place(found, Path(os.path.realpath(found)) if is_link else real[path.parent] / found.name)
    if missing:
        first, near = missing[0], names[places[missing[0].image].path.parent]
        named = ", ".join(f"{quoted(row.image)} (line {row.line})" for row in missing[:_MAX_NAMED])
        number = f"{len(missing)} images that are" if missing[1:] else "an image that is"
        raise ParameterError(
            f"{shown(file)} names {number} not in {shown(folder)}: {named}"
            f"{' and others' if missing[_MAX_NAMED:] else ''}."
            f"{did_you_mean(Path(first.image).name, map(escaped, near))}"
        )
    return places


def _names_in(folder: Path) -> dict[str, list[str]]:
    """Return the names of the files in a folder by themselves, and by the part before the ending of an image file."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is needed, of 100,000 files quickly
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for name in names:
        for end in SUFFIXES:
            if name.lower().endswith(end):
                found.setdefault(name[: -len(end)], []).append(name)
    return found | {name: [name] for name in names}


def _error(file: Path, line: int, what: str) -> ParameterError:
    return ParameterError(f"{shown(file)}, line {line}: {what}.")
