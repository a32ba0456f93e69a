"""compare.html: what differs between runs, their curves over one another, and maps of the same images side by side."""

from __future__ import annotations

import base64
import csv
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from runner.axes import count_axis, number_axis
from runner.browser.comparison import Comparison
from runner.errors import UsageError
from runner.foreign_files import MOST_OF_TABLE, MOST_ROWS, open_file, read_bytes, read_text, rows_of
from runner.html_page import html_page
from runner.metrics_table import KEYS, parse_table
from runner.run_folder import RunFolder
from runner.shown import format_number, printable
from runner.svg import Frame, Place, dot, path, svg

MOST_PICTURES = 96
"""Of saliency maps on the page."""

MOST_BYTES = 6_000_000
"""Of pictures on the page."""

MOST_CURVES = 40
_MOST_POINTS = 2_000
_GENERATOR = b'<meta name="generator" content="Lightcase runs compare">'
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class _Map:
    letter: str
    data: str
    """The PNG, in base 64."""
    caption: str


class _Row(NamedTuple):
    """What is known of an image."""

    caption: str = ""
    file: str = ""
    """Where its maps lie, as it stands in the table."""


def compare_page(comparison: Comparison) -> str:
    """Return a page of HTML that asks for nothing outside of itself and runs no script."""
    folders = [RunFolder(record.path) for record in comparison.records]
    curves = [_readings(folder) for folder in folders]
    maps, num_other = _maps(folders, comparison.letters)
    return html_page(
        "compare.html",
        styles=["compare.css"],
        comparison=comparison,
        runs=list(zip(comparison.letters, comparison.records, strict=True)),
        curves=_curves(curves, comparison.letters),
        num_curves=len({name for each in curves for name in each}),
        maps=maps,
        num_other=num_other,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    )


def check_page(page: Path) -> None:
    """Refuse to write over a file that is no such page.

    Raises:
        UsageError: there is another file of that name, or no folder for it.
    """
    if not page.parent.is_dir():
        raise UsageError(f"There is no folder {page.parent} to write {page.name} to; choose another with --html=FILE.")
    if page.exists() and not (page.is_file() and _GENERATOR in _beginning(page)):
        raise UsageError(f"{page} is something else; choose another place with --html=FILE.")


def _beginning(page: Path) -> bytes:
    with open_file(page) as file:
        return file.read(1000)


# --- curves -----------------------------------------------------------------------------------------------------------

_Curve = list[tuple[float, float]]


def _readings(folder: RunFolder) -> dict[str, _Curve]:
    """Return each metric of metrics.csv over epochs counted from 1; of several rows of one epoch the last."""
    try:
        _, rows = parse_table(read_text(folder.metrics, MOST_OF_TABLE), MOST_ROWS)
    except OSError:
        return {}
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        epoch = _number(row.get("epoch"))
        for name, text in row.items():
            value = _number(text)
            if name not in (*KEYS, None) and math.isfinite(value) and math.isfinite(epoch):
                found.setdefault(name, {})[epoch + 1] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _curves(curves: Sequence[Mapping[str, _Curve]], letters: Sequence[str]) -> list[tuple[str, str]]:
    """Return a title and a picture for each metric that a run has, those of the validation first."""
    names = dict.fromkeys(name for each in curves for name in each)
    ranked = sorted(names, key=lambda name: ("val" not in name, "train" not in name))[:MOST_CURVES]
    return [(name, _curve(name, [each.get(name, []) for each in curves], letters)) for name in ranked]


def _curve(name: str, lines: Sequence[_Curve], letters: Sequence[str]) -> str:
    points = [point for line in lines for point in line]
    x = count_axis("epoch", [point[0] for point in points])
    y = number_axis(name, [point[1] for point in points])
    frame = Frame(400, 220, x, y, "epoch", "")
    parts = frame.drawn()
    for place, line in enumerate(lines):
        track: list[Place] = [frame.at(x.place(at), y.place(value)) for at, value in _thinned(line)]
        if len(track) > 1:
            last = format_number(line[-1][1])
            parts.append(path(track, f"line r{place}", f"{letters[place]}: {last} at the end"))
        if 0 < len(track) <= 12:
            parts += [dot(each, 2.6, f"r{place}", f"{letters[place]}: epoch {at:g}: {format_number(value)}")
                      for each, (at, value) in zip(track, line, strict=True)]  # fmt: skip
    ends = ", ".join(
        f"{letter} {format_number(line[-1][1])}" for letter, line in zip(letters, lines, strict=True) if line
    )
    return svg(frame.width, frame.height, f"{name} over the epochs; at the end {ends}", parts)


def _thinned(line: _Curve) -> _Curve:
    step = -(-len(line) // _MOST_POINTS) or 1
    return [*line[:-1:step], *line[-1:]]


# --- maps -------------------------------------------------------------------------------------------------------------


def _maps(folders: Sequence[RunFolder], letters: Sequence[str]) -> tuple[list[tuple[int, list[_Map]]], int]:
    """Return the maps of images that more than one run explained, by index; and how many are of other images."""
    pictures = [_pictures(folder) for folder in folders]
    counts = {index: sum(index in each for each in pictures) for each in pictures for index in each}
    shared = sorted(index for index, count in counts.items() if count > 1)
    tables = [_table(folder) for folder in folders]
    found: list[tuple[int, list[_Map]]] = []
    num_other, size = 0, 0
    for index in shared:
        having = [place for place in range(len(folders)) if index in pictures[place]]
        rows = {place: tables[place].get(index, _Row()) for place in having}
        images = {_identity(folders[place], index, rows[place].file) for place in having}
        if len(images) > 1:
            num_other += 1
            continue
        contents = [_content(pictures[place][index]) for place in having]
        size += sum(map(len, contents))
        if size > MOST_BYTES or (len(found) + 1) * len(folders) > MOST_PICTURES:
            break
        maps = [
            _Map(letters[place], base64.b64encode(content).decode(), rows[place].caption)
            for place, content in zip(having, contents, strict=True)
            if content.startswith(_PNG)
        ]
        found.append((index, maps))
    return found, num_other


def _pictures(folder: RunFolder) -> dict[int, Path]:
    overlays = folder.saliency / "overlays"
    files = overlays.glob("*.png") if overlays.is_dir() else iter(())
    return {int(each.stem): each for each in files if each.stem.isdecimal() and len(each.stem) < 12}


def _content(picture: Path) -> bytes:
    try:
        return read_bytes(picture, MOST_BYTES)
    except OSError:
        return b""


def _identity(folder: RunFolder, index: int, file: str) -> int | None:
    """Return the checksum of the image's pixels that lies beside its map in *file*; None where it cannot be read."""
    path = folder.saliency / "maps" / (Path(file).name or f"{index:06d}.npz")
    try:
        with open_file(path) as opened, zipfile.ZipFile(opened) as archive:
            return archive.getinfo(f"{index:06d}/image.npy" if "-" in path.stem else "image.npy").CRC
    except (OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile):
        return None


def _table(folder: RunFolder) -> dict[int, _Row]:
    """Return what index.csv says of each image; the first of its maps counts."""
    try:
        text = io.StringIO(read_text(folder.saliency / "index.csv", MOST_OF_TABLE), newline="")
        rows = islice(rows_of(csv.DictReader(text)), MOST_ROWS)
        found = [(int(row["index"]), _Row(" ".join(_words(row)), row.get("file") or "")) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(reversed(found))


def _words(row: Mapping[str, str]) -> Iterator[str]:
    for column, word in (("label", "label"), ("predicted", "predicted"), ("score", ""), ("strength", "strength")):
        text = row.get(column) or ""
        number = _number(text)
        if text:
            shown = format_number(number) if math.isfinite(number) else printable(text, 30)
            yield f"{word} {shown}".strip() + ("," if column in ("label", "score") else "")
