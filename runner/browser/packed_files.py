"""What is in files that are compressed, without writing it anywhere."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_CHUNK = 2**20
_OVERLAP = 256
_MOST = 2**30
"""Bytes of one file that are unpacked."""

_PACKED: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_CLOSED = (b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")


class CannotUnpackError(Exception):
    """What is in a file is not known: it is damaged, locked, larger than is unpacked, or of an unknown kind."""


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, then those of what is packed in it, in pieces that overlap.

    Raises:
        CannotUnpackError: something is packed in it that cannot be unpacked.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        yield from _pieces(file)
    try:
        for start, unpack in _PACKED.items():
            if head.startswith(start):
                with unpack(path) as unpacked:
                    yield from _pieces(unpacked, _MOST)
        if head.startswith(b"PK\3\4"):
            yield from _members(path)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as e:
        raise CannotUnpackError(str(e)) from e
    if head.startswith(_CLOSED):
        raise CannotUnpackError("its kind is not known")


def _members(path: Path) -> Iterator[bytes]:
    """Yield what is deflated in a zip file; the rest of it, such as the tensors of a checkpoint, was seen already."""
    with zipfile.ZipFile(path) as archive:
        packed = [each for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]
        if sum(each.file_size for each in packed) > _MOST:
            raise CannotUnpackError("there is too much in it")
        if any(each.compress_type != zipfile.ZIP_DEFLATED for each in packed):
            raise CannotUnpackError("its kind is not known")  # zipfile unpacks those at once, however long they get
        for each in packed:
            with archive.open(each) as unpacked:
                yield from _pieces(unpacked, _MOST)


def _pieces(file: IO[bytes] | io.BufferedIOBase, most: int | None = None) -> Iterator[bytes]:
    before, size = b"", 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if most is not None and size > most:
            raise CannotUnpackError("there is too much in it")
        yield before + chunk
        before = chunk[-_OVERLAP:]
