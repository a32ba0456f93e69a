"""The record of the images that could not be explained."""

from __future__ import annotations

import csv
import io
import math
import textwrap
import time
from collections.abc import Collection
from dataclasses import astuple, dataclass
from pathlib import Path

from runner.atomic_files import write_text
from runner.environment import redact
from runner.foreign_files import MOST_OF_TABLE, read_text, rows_of

MAX_MESSAGE = 1000
"""Characters of a message that are kept."""


SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True)
class Failure:
    """Why one image could not be explained."""

    index: int
    error: str
    message: str

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


def message_of(error: Exception) -> str:
    """Return what an exception of user code says, if it can."""
    try:
        return str(error)
    except Exception:  # its __str__ is user code, too
        return "(without a message)"


class FailureRecord:
    """A table of failures, by index; there is no file where there is none.

    It is written whole, at the latest a second after a change; :meth:`flush` writes what is left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failures = _read(path) if path.is_file() else {}
        self._new: set[int] = set()
        self._last_write = -math.inf

    def __len__(self) -> int:
        return len(self._failures)

    @property
    def failures(self) -> list[Failure]:
        """All failures by index."""
        return [self._failures[index] for index in sorted(self._failures)]

    def add(self, index: int, error: Exception) -> None:
        """Record why the image with *index* could not be explained; of two reasons the later."""
        message = "".join(each if each.isprintable() or each.isspace() else "?" for each in redact(message_of(error)))
        message = textwrap.shorten(message, MAX_MESSAGE, placeholder=" ...")  # on one line
        self._failures[index] = Failure(index, type(error).__name__, message)
        self._new.add(index)
        if time.monotonic() - self._last_write > SECONDS_BETWEEN_WRITES:
            self.flush()

    def discard(self, indices: Collection[int]) -> None:
        """Forget the failures of *indices*, where there are any."""
        known = self._failures.keys() & indices
        if known:
            self._failures = {index: each for index, each in self._failures.items() if index not in known}
            self.flush()

    def replace(self, failures: Collection[Failure]) -> None:
        """Hold *failures* and no others."""
        self._failures = {each.index: each for each in failures}
        self.flush()

    def forget_earlier(self) -> None:
        """Forget what an earlier attempt recorded and this one did not meet again, as when less is asked for."""
        self.discard(self._failures.keys() - self._new)
        self.flush()

    def flush(self) -> None:
        """Write the table."""
        self._last_write = time.monotonic()
        if not self._failures:
            self.path.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["index", "error", "message"])
        writer.writerows(astuple(each) for each in self.failures)
        write_text(self.path, text.getvalue())


def _read(path: Path) -> dict[int, Failure]:
    found = rows_of(csv.reader(io.StringIO(read_text(path, MOST_OF_TABLE), newline="")))
    rows = [row for row in found if len(row) == 3 and row[0].isdecimal() and len(row[0]) < 12]
    return {int(index): Failure(int(index), error, message) for index, error, message in rows}
