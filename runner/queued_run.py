"""status.json of a run that was submitted and waits."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from runner.atomic_files import write_json
from runner.command_line import program_name
from runner.errors import UsageError
from runner.run_folder import RunFolder
from runner.run_seal import recorded_digests
from runner.sealed_files import write_sealed
from runner.slurm_jobs import is_own, jobs_of, numbers_in_slurm

QUEUED = "queued"
"""State of a run that was submitted and does not run yet, or not any more until it goes on."""

CANCELLED = "cancelled while it was waiting"
"""Why a run ended that had not begun, or was to go on."""


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


def refuse_queued(path: Path) -> None:
    """Refuse to go on here with a run that a job is to go on with; that job itself may.

    Raises:
        UsageError: Slurm has a job for the run in *path*.
    """
    folder = RunFolder(path.resolve())
    numbers = numbers_in_slurm(folder.jobs)
    if not numbers or folder.read_status().get("state") != QUEUED or is_own(numbers):
        return
    if jobs := jobs_of(folder.jobs):
        names = ", ".join(job.name for job in jobs)
        cure = f"{program_name()} queue cancel {shlex.quote(str(path))}"
        raise UsageError(f"{path} waits for its turn in Slurm, as job {names}. To go on with it here, first: {cure}")


def _change(folder: RunFolder, status: dict[str, Any]) -> None:
    files = recorded_digests(folder)
    if files is not None and files.pop(folder.status.name, None) is not None:  # first: a kill may come between
        folder.digests.unlink()
        write_sealed(folder.digests, {"files": files})
    write_json(folder.status, status)
