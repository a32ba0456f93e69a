"""The records of run.log, as :mod:`runner.log_setup` writes them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from runner.foreign_files import open_file
from runner.log_setup import THIRD_PARTY

MOST_BYTES = 2 * 2**20
"""More of a log is not read, from its end."""

MACHINERY = ("/pytorch_lightning/", "/lightning_fabric/", "/torch/", "/importlib/", "<frozen importlib")
"""Of files whose steps in a traceback say nothing to the user."""

_HERE = str(Path(__file__).parents[1])
_HEAD = re.compile(r"(\S+Z) ([A-Z]+) +rank\d+ (\S+) +(\S+?): (.*)")


@dataclass(frozen=True)
class LogRecord:
    """One message."""

    time: str
    level: str
    phase: str
    logger: str
    text: str
    """May have several lines."""

    @property
    def is_own(self) -> bool:
        """Whether it is more than the chatter of libraries."""
        return self.level != "INFO" or self.logger.partition(".")[0] not in THIRD_PARTY

    @property
    def is_warning(self) -> bool:
        """Whether it is a warning or worse, of the user's or our own code."""
        if self.level not in ("WARNING", "ERROR", "CRITICAL") or self.traceback:
            return False
        return not self.is_of_library

    @property
    def is_of_library(self) -> bool:
        """Whether it is a warning that the code of an installed library gave."""
        place = self.text.find("site-packages") if self.logger == "py.warnings" else -1
        return place >= 0 and self.text.find(": ", place) >= 0

    @property
    def traceback(self) -> str:
        """The traceback of an exception that ended a phase; empty in other records."""
        head, _, rest = self.text.partition("\n")
        return rest if head.endswith(" failed") and rest.startswith("Traceback") else ""


def users_part(traceback: str) -> str:
    """Return a traceback without the steps at its beginning that are neither the user's nor of a library he calls."""
    head, *frames = traceback.split('\n  File "')
    first = next((place for place, frame in enumerate(frames) if not _is_machinery(frame)), 0)
    return '\n  File "'.join([head, *frames[first:]])


def _is_machinery(frame: str) -> bool:
    file = frame.partition('"')[0]
    return file.startswith(_HERE) or any(package in file for package in MACHINERY)


def read_log(path: Path) -> list[LogRecord]:
    """Return the records at the end of a log, the first of which may have lost its beginning.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - MOST_BYTES, 0))
        lines = file.read(MOST_BYTES).decode("utf-8", "replace").splitlines()
    found: list[LogRecord] = []
    texts: list[list[str]] = []
    for line in lines:
        if head := _HEAD.fullmatch(line):
            found.append(LogRecord(*head.groups()))
            texts.append([head[5]])
        elif texts:
            texts[-1].append(line)
    return [replace(each, text="\n".join(text).rstrip()) for each, text in zip(found, texts, strict=True)]
