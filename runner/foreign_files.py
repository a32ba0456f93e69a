"""Files of a run folder that somebody else made: reading one neither waits, nor takes all memory, nor ends half way."""

from __future__ import annotations

import csv
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeVar

MOST_BYTES = 32 * 2**20
"""Of a file that is read as a whole; JSON takes up to 20 times that in memory."""

MOST_OF_TABLE = 4 * MOST_BYTES
"""Bytes of a table, or of the list of all files."""

MOST_ROWS = 500_000
"""Of a table that is read for a page; more are passed over."""

_Row = TypeVar("_Row")


def open_file(path: Path) -> IO[bytes]:
    """Open a file to be read; a pipe without a writer is not waited for, and a device not read.

    Raises:
        OSError: it is no regular file, or cannot be opened.
        ValueError: the name has a NUL.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return what a file holds.

    Args:
        path: The file.
        most: How many bytes it may have.

    Raises:
        OSError: it is larger, no regular file, or cannot be read.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size <= most and len(content := file.read(most + 1)) <= most:
            return content
    raise OSError(errno.EFBIG, f"larger than the {most / 1e6:.0f} MB that are read of it", str(path))


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return what a file holds, with U+FFFD for what is no UTF-8; see :func:`read_bytes`."""
    return read_bytes(path, most).decode("utf-8", "replace")


def rows_of(reader: Iterator[_Row]) -> Iterator[_Row]:
    """Yield the rows of one of csv's readers without those that it refuses, such as for the length of a field."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue
        yield row
