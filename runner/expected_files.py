"""Comparison of a run's files with expected ones, for ``regression_test_folder``."""

from __future__ import annotations

import csv
import filecmp
import json
import math
import reprlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from runner.errors import UsageError

JsonPath = tuple[str | int, ...]

INNER_EYE_SUBFOLDER = "OUTPUT"
"""Where InnerEye keeps the expected files of a run; its other subfolders are about the cloud."""


def compare_with_expected(expected: Path, actual: Path, tolerance: float) -> list[str]:
    """Return one line per file below *expected* that *actual* lacks or has with other contents.

    CSV and JSON files are compared by value, numbers with the relative *tolerance*; text files line by line, however
    lines end; all other files byte by byte. Files that only *actual* has do not matter.

    Raises:
        UsageError: there is nothing to compare with.
    """
    if not expected.is_dir():
        raise UsageError(f"The folder with expected files does not exist: {expected}.")
    if (expected / INNER_EYE_SUBFOLDER).is_dir():
        expected /= INNER_EYE_SUBFOLDER
    files = sorted(path for path in expected.rglob("*") if path.is_file())
    if not files:
        raise UsageError(f"The folder with expected files is empty: {expected}.")
    differences = []
    for file in files:
        name = file.relative_to(expected)
        if not (actual / name).is_file():
            differences.append(f"Missing: {name.as_posix()}")
        elif (difference := _first_difference(file, actual / name, tolerance)) is not None:
            differences.append(f"Contents mismatch: {name.as_posix()}: {difference}")
    return differences


def _first_difference(expected: Path, actual: Path, tolerance: float) -> str | None:
    suffix = expected.suffix.lower()
    if suffix in _TEXT_SUFFIXES:
        return _text_difference(_lines(expected), _lines(actual))
    if suffix not in _READERS:
        return _byte_difference(expected, actual)
    read, difference = _READERS[suffix]
    values = []
    for path in (expected, actual):
        try:
            values.append(read(path))
        except (ValueError, csv.Error) as error:
            return f"the {'expected' if path is expected else 'actual'} file is no {suffix[1:].upper()}: {error}"
    return difference(*values, tolerance)


def _byte_difference(expected: Path, actual: Path) -> str | None:
    if filecmp.cmp(expected, actual, shallow=False):
        return None
    wanted, found = expected.stat().st_size, actual.stat().st_size
    return f"{found} bytes, expected {wanted}" if found != wanted else "same size, other bytes"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n").split("\n")


def _text_difference(expected: list[str], actual: list[str]) -> str | None:
    for number, (wanted, found) in enumerate(zip_longest(expected, actual), 1):
        if found is None:
            return f"ends before line {number}, expected {_shown(wanted)}"
        if wanted is None:
            return f"line {number}: {_shown(found)}, expected the end"
        if wanted != found:
            return f"line {number}: {_shown(found)}, expected {_shown(wanted)}"
    return None


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file, strict=True) if row]


def _csv_difference(expected: list[list[str]], actual: list[list[str]], tolerance: float) -> str | None:
    if len(expected) != len(actual):
        return f"{len(actual)} rows, expected {len(expected)}"
    if expected[:1] != actual[:1]:
        return f"header {','.join(actual[0])}, expected {','.join(expected[0])}"
    for number, (wanted, found) in enumerate(zip(expected[1:], actual[1:], strict=True), 2):
        if len(wanted) != len(found):
            return f"row {number}: {len(found)} columns, expected {len(wanted)}"
        for title, wanted_cell, found_cell in zip_longest(expected[0], wanted, found, fillvalue=""):
            if not _cells_match(wanted_cell, found_cell, tolerance):
                return f"row {number}, column {title}: {_shown(found_cell)}, expected {_shown(wanted_cell)}"
    return None


def _cells_match(expected: str, actual: str, tolerance: float) -> bool:
    try:
        return _is_close(_number(expected), _number(actual), tolerance)
    except ValueError:  # one of them is text
        return expected == actual


def _number(text: str) -> int | float:
    """Read a cell; long whole numbers, such as identifiers, keep all their digits."""
    if "_" in text:  # Python would skip it
        raise ValueError(f"{text!r} is not a number")
    try:
        return int(text)
    except ValueError:
        return float(text)


def _read_json(path: Path) -> dict[JsonPath, Any]:
    return dict(_leaves(json.loads(path.read_text(encoding="utf-8"))))


def _leaves(value: Any, where: JsonPath = ()) -> Iterator[tuple[JsonPath, Any]]:
    """Yield every value that is no container, or an empty one, with the keys and indices that lead to it."""
    if isinstance(value, dict | list) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, (*where, key))
    else:
        yield where, value


def _json_difference(expected: dict[JsonPath, Any], actual: dict[JsonPath, Any], tolerance: float) -> str | None:
    for path, wanted in expected.items():
        if path not in actual:
            return f"{_shown_path(path)}: no such value, expected {_shown(wanted)}"
        if not _values_match(wanted, actual[path], tolerance):
            return f"{_shown_path(path)}: {_shown(actual[path])}, expected {_shown(wanted)}"
    extra = next((path for path in actual if path not in expected), None)
    return None if extra is None else f"{_shown_path(extra)}: {_shown(actual[extra])}, expected no such value"


def _shown_path(path: JsonPath) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).lstrip(".") or "value"


def _values_match(expected: Any, actual: Any, tolerance: float) -> bool:
    if _is_number(expected) and _is_number(actual):
        return _is_close(expected, actual, tolerance)
    return type(expected) is type(actual) and bool(expected == actual)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_close(expected: float, actual: float, tolerance: float) -> bool:
    if expected == actual or (expected != expected and actual != actual):  # noqa: PLR0124 - the test for NaN
        return True
    try:
        return math.isfinite(actual) and abs(actual - expected) <= tolerance * abs(expected) < math.inf
    except OverflowError:  # an int that is larger than any float
        return False


def _shown(value: Any) -> str:
    return reprlib.repr(value)  # long values are cut in the middle


_READERS: dict[str, tuple[Callable[[Path], Any], Callable[..., str | None]]] = {
    ".csv": (_read_csv, _csv_difference),
    ".json": (_read_json, _json_difference),
}
_TEXT_SUFFIXES = {".txt", ".md", ".html", ".yaml", ".yml"}
