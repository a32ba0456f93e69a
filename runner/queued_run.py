"""status.json of a run that was submitted and waits."""

from __future__ import annotations

from typing import Any

from runner.atomic_files import write_json
from runner.run_folder import RunFolder
from runner.run_seal import recorded_digests
from runner.sealed_files import write_sealed

QUEUED = "queued"
"""State of a run that was submitted and does not run yet, or not any more until it goes on."""


def mark_queued(folder: RunFolder, **first: Any) -> None:
    """Let status.json say that the run waits.

    Args:
        folder: The run.
        **first: What a run says that has not begun yet.
    """
    _change(folder, {"attempts": 0, **first, **folder.read_status(), "state": QUEUED, "exit_reason": None})


def mark_stuck(folder: RunFolder, reason: str) -> None:
    """Let status.json say that the run waits no more, and why."""
    _change(folder, folder.read_status() | {"state": "interrupted", "exit_reason": reason})


def _change(folder: RunFolder, status: dict[str, Any]) -> None:
    files = recorded_digests(folder)
    if files is not None and files.pop(folder.status.name, None) is not None:  # first: a kill may come between
        folder.digests.unlink()
        write_sealed(folder.digests, {"files": files})
    write_json(folder.status, status)
