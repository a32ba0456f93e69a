"""Checkpoint files as bytes: written whole, with a digest of their own inside, and checked before they are read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from runner.atomic_files import atomic_file
from runner.errors import CheckpointError

_BEGIN = b"PK\x03\x04"
"""What a zip file begins with, which is what torch writes."""
_END = b"PK\x05\x06"
"""What its last record begins with."""
_END_BYTES = 22
_MARK = b"lightcase sha256="
_COMMENT_BYTES = len(_MARK) + 64


def write_checkpoint_file(path: Path, save: Callable[[io.RawIOBase], None]) -> None:
    """Write a checkpoint beside *path*, fsync it and rename it; what was there before stays whole until then.

    A zip file, which is what ``torch.save`` makes, gets the sha256 of its bytes as its comment. Every zip reader,
    torch's too, passes over that.

    Args:
        path: Where it is to be.
        save: Called with what to write to, from beginning to end.

    Raises:
        OSError: the disk is full, the folder not writable, and so on; what was at *path* before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        sealing = _Sealing(file)
        save(sealing)
        sealing.finish()


def check_checkpoint_file(path: Path) -> None:
    """Compare the bytes of a checkpoint with the digest inside, or, of other zip files, with their checksums.

    torch does neither: a flipped bit would load as other weights.

    Raises:
        CheckpointError: the file is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin, size = file.read(4), file.seek(0, 2)
        start = size - _END_BYTES - _COMMENT_BYTES
        end = b""
        if start >= 0:
            file.seek(start)
            end = file.read()
        length = _COMMENT_BYTES.to_bytes(2, "little")
        if end.startswith(_END) and (end[20:22] == length or end[22:].startswith(_MARK)):
            file.seek(0)
            if end[20:] != length + _MARK + _digest(file, start + 20):
                raise CheckpointError(f"{path} is damaged: its bytes do not match its digest.")
            return
    if not size or (begin == _BEGIN and not zipfile.is_zipfile(path)):
        raise CheckpointError(f"{path} is damaged or no checkpoint: it was not written to its end.")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong.")


def _digest(file: IO[bytes], count: int) -> bytes:
    digest = hashlib.sha256()
    while count > 0:
        chunk = file.read(min(count, 2**20))
        if not chunk:
            break
        digest.update(chunk)
        count -= len(chunk)
    return digest.hexdigest().encode()


class _Sealing(io.RawIOBase):
    """Passes bytes on and holds the last ones back, until it is known what they are."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._held = b""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if len(view) < _END_BYTES:
            view = memoryview(self._held + view)
        else:
            self._pass_on(self._held)
        cut = max(0, len(view) - _END_BYTES)
        self._pass_on(view[:cut])
        self._held = bytes(view[cut:])
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Write the end, with the digest where it is that of a zip file without a comment."""
        if self._held.startswith(_END) and self._held.endswith(b"\0\0"):
            self._pass_on(self._held[:20])
            comment = _MARK + self._digest.hexdigest().encode()
            self._file.write(len(comment).to_bytes(2, "little") + comment)
        else:
            self._pass_on(self._held)

    def _pass_on(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)
