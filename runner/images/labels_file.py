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
    frame: int | None


def read_labels_file(file: Path, folder: Path, columns: LabelColumns, class_names: Sequence[str] = ()) -> ImageTable:
    """Return the images that a CSV file names, in its order; of rows that say the same, the first.

    Args:
        file: UTF-8; the names of the columns in the first line, and commas, semicolons or tabs between them.
        folder: What the names of images are relative to.
        columns: The names of the columns.
        class_names: The classes in order; empty: sorted, as numbers where they are.

    Raises:
        ParameterError: it is no such file, a column or an image is missing, a name leads out of *folder*, or an image
            has two labels.
    """
    rows: dict[tuple[str, int | None], _Row] = {}
    for row in _rows(file, columns):
        first = rows.setdefault((row.image, row.frame), row)
        if first.label != row.label:
            raise ParameterError(
                f"{shown(file)}: {quoted(row.image)} is {quoted(first.label)} in line {first.line} "
                f"and {quoted(row.label)} in line {row.line}."
            )
    found = {row.label for row in rows.values()}
    if len(found) < 2:
        raise ParameterError(f"{shown(file)} has {len(found)} class in {columns.label!r}; at least 2 are needed.")
    classes = ordered_classes(found, class_names, f"the labels of {shown(file)}")
    places = _find_files(rows.values(), folder, file)
    numbers = {name: number for number, name in enumerate(classes)}
    images = [
        LabelledImage(places[row.image], row.image, numbers[row.label], row.group, row.frame) for row in rows.values()
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
        group = row.get("group") or row["image"]
        yield _Row(line, row["image"], row["label"], group, int(frame) if frame else None)


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


def _find_files(rows: Iterable[_Row], folder: Path, file: Path) -> dict[str, Path]:
    """Return the file of each name.

    Raises:
        ParameterError: a name leads out of the folder, or files are missing.
    """
    places: dict[str, Path] = {}
    names: dict[Path, dict[str, str]] = {}
    missing: list[_Row] = []
    for row in rows:
        path = Path(os.path.normpath(folder / row.image))
        if "\0" in row.image or not path.is_relative_to(folder):
            raise _error(file, row.line, f"{quoted(row.image)} leads out of {shown(folder)}")
        if path.parent not in names:
            names[path.parent] = _names_in(path.parent)
        there = names[path.parent]
        if path.name not in there:
            missing.append(row)
        places[row.image] = path.parent / there.get(path.name, path.name)
    if missing:
        first, near = missing[0], names[places[missing[0].image].parent]
        named = ", ".join(f"{quoted(row.image)} (line {row.line})" for row in missing[:_MAX_NAMED])
        number = f"{len(missing)} images that are" if missing[1:] else "an image that is"
        raise ParameterError(
            f"{shown(file)} names {number} not in {shown(folder)}: {named}"
            f"{' and others' if missing[_MAX_NAMED:] else ''}."
            f"{did_you_mean(Path(first.image).name, map(escaped, near))}"
        )
    return places


def _names_in(folder: Path) -> dict[str, str]:
    """Return the names of the files in a folder by themselves, and by the part before the ending of an image file."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is needed, of 100,000 files quickly
    except OSError:
        return {}
    short = {name[: -len(end)]: name for end in SUFFIXES for name in names if name.lower().endswith(end)}
    return short | {name: name for name in names}


def _error(file: Path, line: int, what: str) -> ParameterError:
    return ParameterError(f"{shown(file)}, line {line}: {what}.")
