"""Records that are written once, never replaced, and carry a digest of what they say."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.atomic_files import finite, sync_folder, temporary_name
from runner.errors import RunFailedError
from runner.foreign_files import MOST_OF_TABLE, read_bytes


def write_sealed(path: Path, body: dict[str, Any]) -> bool:
    """Write *body* to a file that is not there yet; return False, and leave it alone, where it is.

    Raises:
        OSError: the disk is full, the folder not writable, and so on; there is no file then.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(sealed_bytes(body))
            file.flush()
            os.fsync(file.fileno())
        place(temporary, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)
    return True


def sealed_bytes(body: dict[str, Any]) -> bytes:
    """Return what a sealed file with that body holds."""
    body = finite(body)
    text = json.dumps({"body": body, "sha256": digest(body)}, indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def place(temporary: Path, path: Path) -> None:
    """Give a file that is whole its name.

    Raises:
        FileExistsError: there is one of that name.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # file systems without links
            raise FileExistsError from None
        temporary.replace(path)


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the body of a sealed file.

    Raises:
        RunFailedError: the file is damaged, or was changed by hand.
        OSError: it cannot be read.
    """
    try:
        record = json.loads(read_bytes(path, MOST_OF_TABLE))
        body: dict[str, Any] = record["body"]
        is_whole = isinstance(body, dict) and record["sha256"] == digest(body)
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise RunFailedError(f"{path} is damaged, or was changed by hand: its contents do not match its digest.")
    return body


def digest(body: Any) -> str:
    """Return the sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
