"""Files that are never half written: to a temporary name beside the target, fsynced, then renamed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under *path*, whole, when the block ends without an exception.

    Raises:
        OSError: the disk is full, the folder not writable, and so on; what was at *path* before is untouched.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Return a name beside *path* that nobody else uses; processes on two machines may have one number."""
    return path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}.tmp")


def sync_folder(folder: Path) -> None:
    """Make renames inside *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8; lone surrogates, as in undecodable file names, are kept as escapes."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write *value* as indented JSON."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def finite(value: Any) -> Any:
    """Return *value* with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an exception, or one that led to it, means that there is no space left."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """Make *target* a second name of the bytes that *source* has now; a copy where links are not possible."""
    temporary = temporary_name(target)
    try:
        os.link(source, temporary)
    except OSError:
        with atomic_file(target) as file:
            file.write(source.read_bytes())
        return
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # rename does nothing where both are names of one file already
    sync_folder(target.parent)
