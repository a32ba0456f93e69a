"""What ``queue`` says of jobs in Slurm, and cancelling them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RunFailedError, UsageError
from runner.plain_text import escaped
from runner.queued_run import CANCELLED, QUEUED, mark_stuck
from runner.run_folder import RunFolder
from runner.shown import printable
from runner.slurm_jobs import SlurmJob, cancel_jobs, is_of, jobs_in_slurm, jobs_of, numbers_in_slurm
from runner.sweep.sweep_folder import SweepFolder

SILENT = "Slurm does not answer"


@dataclass(frozen=True)
class RunInSlurm:
    """A single run with the jobs that are there for it."""

    folder: RunFolder
    jobs: Sequence[SlurmJob]
    """None of them where Slurm does not answer."""


def jobs_of_sweeps(sweeps: Sequence[SweepFolder]) -> dict[str, str]:
    """Return what Slurm says of the jobs of each sweep that has any, by the name of the sweep."""
    numbers = {sweep.name: numbers_in_slurm(sweep.jobs) for sweep in sweeps}
    asked = {number for each in numbers.values() for number in each}
    jobs = jobs_in_slurm(asked)
    if jobs is None:
        return dict.fromkeys((name for name, own in numbers.items() if own), SILENT)
    texts = {sweep.name: _said([job for job in jobs if job.array in numbers[sweep.name] and is_of(job, sweep.jobs)])
             for sweep in sweeps}  # fmt: skip
    return {name: text for name, text in texts.items() if text}


def _said(jobs: Sequence[SlurmJob]) -> str:
    """Return ``12: 2 RUNNING, 1 PENDING``."""
    arrays: dict[int, Counter[str]] = {}
    for job in jobs:
        arrays.setdefault(job.array, Counter())[job.state] += 1
    counts = {number: ", ".join(f"{count} {state}" for state, count in states.most_common())
              for number, states in arrays.items()}  # fmt: skip
    return "; ".join(f"{number}: {text}" for number, text in counts.items())


def runs_in_slurm(outputs: Path) -> list[RunInSlurm]:
    """Return the single runs below *outputs* for which jobs wait or run, by what Slurm says of this user's jobs.

    Where it says nothing, they are the submitted runs that say of themselves that they wait or run.
    """
    jobs = jobs_in_slurm()
    if jobs is None:
        submitted = sorted(file.parent.parent for file in outputs.glob("*/launcher/jobs.json"))
        return [RunInSlurm(RunFolder(each), ()) for each in submitted if not each.is_symlink() and _may_work(each)]
    found: dict[Path, list[SlurmJob]] = {}
    for job in jobs:
        folder = job.output.parent.parent.resolve()  # of the launcher's folder
        if folder.parent == outputs.resolve() and RunFolder(folder).can_resume:
            found.setdefault(folder, []).append(job)
    return [RunInSlurm(RunFolder(folder), jobs) for folder, jobs in sorted(found.items())]


def was_submitted(outputs: Path, sweeps: Sequence[SweepFolder]) -> bool:
    """Tell whether any run or sweep below *outputs* was ever given to Slurm."""
    folders = [*(file.parent for file in outputs.glob("*/launcher/jobs.json")), *(sweep.jobs for sweep in sweeps)]
    return any(numbers_in_slurm(each) for each in folders)


def _may_work(path: Path) -> bool:
    with suppress(RunFailedError):  # damaged
        folder = RunFolder(path)
        return folder.read_status().get("state") in (QUEUED, "running") and bool(numbers_in_slurm(folder.jobs))
    return False


def runs_table(runs: Sequence[RunInSlurm]) -> list[str]:
    """Return a line for each run, below a head; none if there are no runs."""
    rows = [("run", "state", "job", "in Slurm")]
    for run in runs:
        state = printable(str(run.folder.read_status().get("state", "")), 20)
        numbers = [str(each) for each in numbers_in_slurm(run.folder.jobs)[-1:]] if not run.jobs else []
        jobs = [*((job.name, job.state) for job in run.jobs), *((number, SILENT) for number in numbers)]
        rows += [(run.folder.path.name, state, *job) for job in jobs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if runs else []


def find_run(outputs: Path, name: str) -> RunInSlurm | None:
    """Return the run with jobs that is called *name*: a path, its folder's name, or a part that only one has.

    Raises:
        UsageError: more than one is called so.
    """
    with suppress(OSError):  # a word that can be no name of a file
        path = Path(name).resolve()
        if RunFolder(path).can_resume:
            runs = runs_in_slurm(path.parent)
            return next((run for run in runs if run.folder.path.resolve() == path), None)
    runs = runs_in_slurm(outputs)
    exact = [run for run in runs if run.folder.path.name == name]
    matches = exact or [run for run in runs if name in run.folder.path.name]
    if len(matches) > 1:
        names = ", ".join(run.folder.path.name for run in matches)
        raise UsageError(f"More than one run is called like {escaped(name)!r}: {names}.")
    return matches[0] if matches else None


def cancel_run(run: RunInSlurm) -> str:
    """Let Slurm stop the jobs of a run, and return what to say.

    Raises:
        RunFailedError: Slurm does not.
    """
    if not run.jobs:
        raise RunFailedError(f"{run.folder.path.name}: {SILENT}; nothing is cancelled.")
    cancel_jobs([job.number for job in run.jobs])
    names = ", ".join(job.name for job in run.jobs)
    if run.folder.read_status().get("state") == QUEUED:
        mark_stuck(run.folder, CANCELLED)
    return f"{run.folder.path.name}: job {names} cancelled; the run can go on with --resume."


def cancel_sweep(sweep: SweepFolder) -> str:
    """Let Slurm stop the jobs of a sweep, and return what to say besides; nothing where there are none."""
    jobs = jobs_of(sweep.jobs)
    if jobs is None:
        return f" {SILENT}: jobs that wait there are not cancelled." if numbers_in_slurm(sweep.jobs) else ""
    cancel_jobs([job.number for job in jobs])
    return f" Cancelled in Slurm: {', '.join(sorted(job.name for job in jobs))}." if jobs else ""
