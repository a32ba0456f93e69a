"""Files that only grow: records of bytes, each whole or not there.

A record is its number, its length and a CRC-32 of both and of its bytes, then the bytes. What a process leaves that is
killed while it writes is a torn last record, which the checksum tells. Appending does not wait for the disk: a power
cut may take the last records, and what they held is made anew.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runner.foreign_files import open_file

_HEAD = struct.Struct("<QQ")
_SUM = struct.Struct("<I")
_OVERHEAD = _HEAD.size + _SUM.size


class Record(NamedTuple):
    """Where a whole record lies in its file."""

    number: int
    start: int
    length: int

    def read(self, journal: Path) -> bytes:
        """Return the bytes of the record.

        Raises:
            OSError: the file cannot be read.
        """
        with open_file(journal) as file:
            file.seek(self.start)
            return file.read(self.length)


def append(journal: Path, number: int, content: bytes) -> None:
    """Add a record; the file is made where there is none.

    Raises:
        OSError: the disk is full, and so on; the record may be torn then, see :func:`cut_torn_tail`.
    """
    head = _HEAD.pack(number, len(content))
    checksum = _SUM.pack(zlib.crc32(content, zlib.crc32(head)))
    with journal.open("ab", buffering=0) as file:
        rest = memoryview(head + checksum + content)
        while rest:  # a write may take less than all, such as when the disk fills
            rest = rest[file.write(rest) :]


def records(journal: Path) -> dict[int, Record]:
    """Return the whole records by number, up to the first that is damaged; of two with one number the later.

    Raises:
        OSError: the file cannot be read.
    """
    return {record.number: record for record in _whole(journal)}


def cut_torn_tail(journal: Path) -> int:
    """Cut off what is not whole, so that records can be added, and return how many bytes that were.

    Raises:
        OSError: the file cannot be read or written.
    """
    end = max((record.start + record.length for record in _whole(journal)), default=0)
    torn = journal.stat().st_size - end
    if torn:
        os.truncate(journal, end)
    return torn


def _whole(journal: Path) -> Iterator[Record]:
    with open_file(journal) as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place + _OVERHEAD <= size:
            head = file.read(_HEAD.size)
            (checksum,) = _SUM.unpack(file.read(_SUM.size))
            number, length = _HEAD.unpack(head)
            place += _OVERHEAD
            if place + length > size or zlib.crc32(file.read(length), zlib.crc32(head)) != checksum:
                return
            yield Record(number, place, length)
            place += length
