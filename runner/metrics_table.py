"""metrics.csv as a file: one row per epoch or step, in columns that stay where they are when new metrics appear."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from runner.atomic_files import write_text
from runner.foreign_files import rows_of

KEYS = ("epoch", "step")

L_RATE = "l_rate"
"""Column of the learning rate, which is no result."""


class MetricsTable:
    """Writes metrics.csv.

    What comes for the same epoch and step goes into one row, the last of the file, which is rewritten in place while
    more arrives. A new metric becomes a new last column; the file is then written anew, atomically.
    """

    def __init__(self, path: Path) -> None:
        """Take up the file; rows that are there already are kept."""
        self.path = path
        self._columns = list(KEYS)
        self._row: dict[str, Any] = {}
        self._row_start = 0
        self._is_written = True
        if path.is_file():
            columns, rows = read_table(path)
            self._columns = columns or list(KEYS)
            write_text(path, _table(self._columns, rows))  # without a line that a kill left unfinished

    def add(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add *metrics*, with their ``epoch`` among them, to the row of that epoch and *step*."""
        values = dict(metrics)
        epoch = int(values.pop("epoch", self._row.get("epoch", 0)))
        keys = {"epoch": epoch, "step": self._row.get("step", 0) if step is None else step}
        if any(self._row.get(key) != value for key, value in keys.items()):
            self.save()
            self._row = keys
            self._row_start = self.path.stat().st_size if self.path.is_file() else 0
        numbers = {name: float(value) for name, value in values.items()}
        if any(repr(self._row.get(name)) != repr(number) for name, number in numbers.items()):
            self._row |= numbers
            self._is_written = False

    def save(self) -> None:
        """Write the current row, if something was added to it."""
        if self._is_written:
            return
        line = _table(self._columns, [_texts(self._row)], header=False) if self._fits() else ""
        if line:
            with self.path.open("r+b") as file:
                file.truncate(self._row_start)
                file.seek(self._row_start)
                file.write(line.encode())
        else:
            self._add_columns()
        self._is_written = True

    def drop_from(self, epoch: int) -> None:
        """Remove the rows of *epoch*, counted from 0, and later."""
        drop_rows(self.path, epoch)
        self._row, self._is_written = {}, True

    def _fits(self) -> bool:
        return self._row_start > 0 and set(self._row) <= set(self._columns)

    def _add_columns(self) -> None:
        """Write the whole file anew, with the columns that the current row needs."""
        earlier: list[dict[str, str]] = []
        if self._row_start:
            with self.path.open("rb") as file:
                earlier = parse_table(file.read(self._row_start).decode())[1]
        self._columns += [name for name in self._row if name not in self._columns]
        before = _table(self._columns, earlier)
        write_text(self.path, before + _table(self._columns, [_texts(self._row)], header=False))
        self._row_start = len(before.encode())


def drop_rows(path: Path, epoch: int) -> None:
    """Remove the rows of *epoch* (counted from 0) and later: a resumed run does these epochs again."""
    if path.is_file():
        columns, rows = read_table(path)
        write_text(path, _table(columns, [row for row in rows if _epoch(row) < epoch]))


def last_row(path: Path) -> dict[str, float]:
    """Return the metrics of the last row that has any."""
    rows = read_table(path)[1] if path.is_file() else []
    return _metrics(rows[-1]) if rows else {}


def metrics_of_epoch(path: Path, epoch: int) -> dict[str, float]:
    """Return the metrics of an epoch, counted from 0; of those that it has several of, the last."""
    rows = read_table(path)[1] if path.is_file() else []
    found: dict[str, float] = {}
    for row in rows:
        if _epoch(row) == epoch:
            found |= _metrics(row)
    return found


def _metrics(row: Mapping[str, str]) -> dict[str, float]:
    return {
        name: float(text) for name, text in row.items() if text and name not in KEYS and not name.startswith(L_RATE)
    }


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and rows of the file, as texts."""
    return parse_table(path.read_text(encoding="utf-8"))


def parse_table(text: str, most_rows: int | None = None) -> tuple[list[str], list[dict[str, str]]]:
    """Return columns and rows, the first *most_rows*; a last line that a kill left unfinished is dropped."""
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    rows = list(islice(rows_of(reader), most_rows))
    return list(reader.fieldnames or []), rows


def _epoch(row: Mapping[str, str]) -> int:
    return int(row["epoch"])


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else repr(float(value))


def _table(columns: list[str], rows: list[dict[str, str]], *, header: bool = True) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
