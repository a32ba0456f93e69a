"""What ``queue`` says of jobs in Slurm, and cancelling them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UsageError
from runner.plain_text import escaped
from runner.queued_run import QUEUED, mark_stuck
from runner.run_folder import RunFolder
from runner.shown import printable
from runner.slurm_jobs import SlurmJob, cancel_jobs, jobs_in_slurm, numbers_in_slurm
from runner.sweep.sweep_folder import SweepFolder


@dataclass(frozen=True)
class RunInSlurm:
    """A single run with the jobs that are there for it."""

    folder: RunFolder
    jobs: Sequence[SlurmJob]


def jobs_of_sweeps(sweeps: Sequence[SweepFolder]) -> dict[str, str]:
    """Return what Slurm says of the jobs of each sweep that has any, by the name of the sweep."""
    numbers = {sweep.name: numbers_in_slurm(sweep.jobs) for sweep in sweeps}
    asked = {number for each in numbers.values() for number in each}
    jobs = jobs_in_slurm(asked)
    if jobs is None:
        return dict.fromkeys((name for name, own in numbers.items() if own), "Slurm does not answer")
    by_array: dict[int, list[SlurmJob]] = {}
    for job in jobs:
        by_array.setdefault(job.array, []).append(job)
    texts = {name: [_said(number, by_array[number]) for number in own if number in by_array]
             for name, own in numbers.items()}  # fmt: skip
    return {name: "; ".join(found) for name, found in texts.items() if found}


def _said(number: int, jobs: Sequence[SlurmJob]) -> str:
    """Return ``12: 2 RUNNING, 1 PENDING``."""
    counts = Counter(job.state for job in jobs)
    return f"{number}: " + ", ".join(f"{count} {state}" for state, count in counts.most_common())


def runs_in_slurm(outputs: Path) -> list[RunInSlurm]:
    """Return the single runs below *outputs* for which jobs wait or run, by what Slurm says of this user's jobs."""
    found: dict[Path, list[SlurmJob]] = {}
    for job in jobs_in_slurm() or ():
        folder = job.output.parent.parent  # of the launcher's folder
        if folder.parent == outputs and RunFolder(folder).can_resume:
            found.setdefault(folder, []).append(job)
    return [RunInSlurm(RunFolder(folder), jobs) for folder, jobs in sorted(found.items())]


def runs_table(runs: Sequence[RunInSlurm]) -> list[str]:
    """Return a line for each run, below a head; none if there are no runs."""
    rows = [("run", "state", "job", "in Slurm")]
    for run in runs:
        state = printable(str(run.folder.read_status().get("state", "")), 20)
        rows += [(run.folder.path.name, state, job.name, job.state) for job in run.jobs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if runs else []


def find_run(outputs: Path, name: str) -> RunInSlurm | None:
    """Return the run with jobs that is called *name*: a path, its folder's name, or a part that only one has.

    Raises:
        UsageError: more than one is called so.
    """
    runs = runs_in_slurm(outputs)
    path = Path(name).absolute()
    exact = [run for run in runs if run.folder.path.name == name or run.folder.path == path.resolve()]
    matches = exact or [run for run in runs if name in run.folder.path.name]
    if len(matches) > 1:
        names = ", ".join(run.folder.path.name for run in matches)
        raise UsageError(f"More than one run is called like {escaped(name)!r}: {names}.")
    return matches[0] if matches else None


def cancel_run(run: RunInSlurm) -> str:
    """Let Slurm stop the jobs of a run, and return what to say."""
    cancel_jobs([job.number for job in run.jobs])
    names = ", ".join(job.name for job in run.jobs)
    if run.folder.read_status().get("state") == QUEUED:
        mark_stuck(run.folder, "cancelled while it was waiting")
    return f"{run.folder.path.name}: job {names} cancelled; the run can go on with --resume."


def cancel_sweep(sweep: SweepFolder) -> str:
    """Let Slurm stop the jobs of a sweep, and return what to say besides; nothing where there are none."""
    jobs = jobs_in_slurm(numbers_in_slurm(sweep.jobs)) or []
    cancel_jobs([job.number for job in jobs])
    return f" Cancelled in Slurm: {', '.join(sorted(job.name for job in jobs))}." if jobs else ""
