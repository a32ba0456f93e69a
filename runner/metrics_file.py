"""metrics.csv: one row per epoch or step, in columns that stay where they are when new metrics appear."""

from __future__ import annotations

import csv
import io
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from runner.atomic_files import write_text

KEYS = ("epoch", "step")


class MetricsFile(Logger):
    """Lightning logger for metrics.csv.

    What is logged for the same epoch and step goes into one row. A new metric becomes a new last column.
    Rows are appended as they are complete; a new column rewrites the file atomically.

    Args:
        path: The file; rows that are there already are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._columns = list(KEYS)
        self._row: dict[str, Any] = {}
        if path.is_file():
            self._columns = _read(path)[0] or list(KEYS)

    @property
    def name(self) -> str:
        """Name that Lightning asks for; there is only one such file in a run."""
        return "metrics"

    @property
    def version(self) -> str:
        """Version that Lightning asks for."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add *metrics* to the row of their epoch and step."""
        values = dict(metrics)
        keys = {"epoch": int(values.pop("epoch", 0)), "step": step if step is not None else 0}
        if self._row and any(self._row[key] != value for key, value in keys.items()):
            self.save()
        self._row = keys | self._row | {name: float(value) for name, value in values.items()}

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml has all values."""

    @rank_zero_only
    def save(self) -> None:
        """Write the current row."""
        row, self._row = self._row, {}
        if not row:
            return
        new = [name for name in row if name not in self._columns]
        if new or not self._path.is_file():
            earlier = _read(self._path)[1] if self._path.is_file() else []
            self._columns += new
            write_text(self._path, _table(self._columns, [*earlier, _texts(row)]))
            return
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_table(self._columns, [_texts(row)], header=False))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        del status
        self.save()

    def drop_from(self, epoch: int) -> None:
        """Remove the rows of *epoch* and later: a resumed run does these epochs again."""
        if self._path.is_file():
            columns, rows = _read(self._path)
            write_text(self._path, _table(columns, [row for row in rows if _epoch(row) < epoch]))


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the file; a last line that a kill left unfinished is dropped."""
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    return list(reader.fieldnames or []), list(reader)


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
