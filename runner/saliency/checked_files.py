"""Which files of maps a process has read from end to end, so that the next one need not do it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runner.atomic_files import write_json
from runner.foreign_files import read_bytes


def write_checked(path: Path, files: Iterable[Path]) -> None:
    """Write down size and time of *files*, which were read and are whole.

    Args:
        path: The record.
        files: In one folder.
    """
    write_json(path, {file.name: _stamp(file) for file in files})


def read_checked(paths: Iterable[Path]) -> dict[str, Any]:
    """Return what is in several records; what is in one that is damaged is checked again."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            known = json.loads(read_bytes(path))
        except (OSError, ValueError):
            continue
        found |= known if isinstance(known, dict) else {}
    return found


def is_checked(file: Path, known: Mapping[str, Any]) -> bool:
    """Tell whether *file* is as it was when it was checked."""
    return file.name in known and known[file.name] == _stamp(file)


def _stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]
