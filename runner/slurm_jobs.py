"""What Slurm says of jobs, by ``squeue``, which needs no accounting; and which jobs a folder was given to."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner.atomic_files import write_json
from runner.errors import RunFailedError
from runner.foreign_files import read_bytes

ASK_SECONDS = 5.0
"""How long an answer of Slurm is taken to be true."""

_ASK_LIMIT = 10.0
"""Seconds after which Slurm is taken to be silent."""

_CANCEL_LIMIT = 30.0
_MOST = 2**31 - 1
"""No job has a larger number; for one bad number squeue refuses to speak of all."""

_FOREIGN = ("SQUEUE_", "SCANCEL_")
"""Variables by which a user may change what these commands do."""

_OWNER = re.compile(r"(?P<cluster>[\w.-]{1,40})/(?P<number>\d{1,12})\.(?P<restarts>\d{1,9})")
_NUMBER = re.compile(r"[0-9]{1,10}")
_FIELDS = "JobArrayID:|,JobID:|,State:|,RestartCnt:|,STDOUT:"
_GONE = "Invalid job id"
_LAUNCHES = "jobs.json"


@dataclass(frozen=True)
class SlurmJob:
    """A job that waits, runs, or is just coming to its end."""

    name: str
    """``12``, or ``12_3`` for a task of an array."""
    number: int
    """Another one for each task of an array."""
    state: str
    """``PENDING``, ``RUNNING``, ``COMPLETING``, ..."""
    restarts: int
    """How often it was requeued."""
    output: Path
    """Where what it prints goes."""

    @property
    def array(self) -> int:
        """Number of the array that the job is a task of, else its own."""
        number = self.name.partition("_")[0]
        return int(number) if number.isdecimal() else self.number


@dataclass(frozen=True)
class Launch:
    """Jobs that were submitted together."""

    launcher: str
    job: str
    """Number of the job or of the array."""
    count: int = 1
    """Of the array's tasks."""
    options: Mapping[str, str] = field(default_factory=dict)
    """For ``sbatch``, as the user gave them; empty text for a bare one."""
    submitted: str = ""
    """When, in UTC."""


def add_launch(folder: Path, launch: Launch) -> None:
    """Write down that jobs were submitted; *folder* is that of the launcher inside of a run or sweep."""
    folder.mkdir(exist_ok=True)
    write_json(folder / _LAUNCHES, [asdict(each) for each in (*read_launches(folder), launch)])


def read_launches(folder: Path) -> list[Launch]:
    """Return what was submitted, the last at the end; nothing where that cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        found = json.loads(read_bytes(folder / _LAUNCHES))
        return [
            Launch(str(each["launcher"]), str(each["job"]), int(each["count"]),
                   {str(name): str(value) for name, value in each["options"].items()}, str(each["submitted"]))
            for each in found
        ]  # fmt: skip
    return []


def numbers_in_slurm(folder: Path) -> list[int]:
    """Return the numbers of the jobs and arrays that were submitted to Slurm for a run or sweep."""
    jobs = [each.job for each in read_launches(folder) if each.launcher == "slurm"]
    return [int(job) for job in jobs if _NUMBER.fullmatch(job) and 0 < int(job) <= _MOST]


def own_job() -> str:
    """Return cluster, number and restarts of the job that this process is part of, as ``name/12.0``; else nothing."""
    cluster, number = (os.environ.get(f"SLURM_{name}", "") for name in ("CLUSTER_NAME", "JOB_ID"))
    text = f"{cluster}/{number}.{os.environ.get('SLURM_RESTART_COUNT') or 0}"
    return text if _OWNER.fullmatch(text) else ""


@dataclass
class _Silence:
    until: float = -float("inf")


_silence = _Silence()


def is_silent() -> bool:
    """Tell whether Slurm is there and did not answer when it was asked a moment ago; it is not asked again so soon."""
    return time.monotonic() < _silence.until


def jobs_in_slurm(numbers: Collection[int] | None = None) -> list[SlurmJob] | None:
    """Return the jobs that Slurm has not done with; those that have ended are not among them.

    Args:
        numbers: Of jobs or arrays; None for all of this user.

    Returns:
        The jobs, or None where there is no Slurm, or it does not answer.
    """
    if numbers is not None and not numbers:
        return []
    if is_silent() or shutil.which("squeue") is None:
        return None
    chosen = "--me" if numbers is None else "--jobs=" + ",".join(map(str, sorted(numbers)))
    done = _run("squeue", "--noheader", "--array", chosen, f"--Format={_FIELDS}")
    if done is not None and _GONE in done.stderr:
        return []
    if done is None or done.returncode:
        _silence.until = time.monotonic() + ASK_SECONDS
        return None
    return [job for job in map(_job, done.stdout.splitlines()) if job is not None]


def jobs_of(folder: Path) -> list[SlurmJob] | None:
    """Return the jobs of a run or sweep that Slurm has not done with; None where it does not answer.

    Numbers are used again, so that only jobs count that print into the folder.

    Args:
        folder: That of the launcher in the run or sweep.
    """
    jobs = jobs_in_slurm(numbers_in_slurm(folder))
    return None if jobs is None else [job for job in jobs if is_of(job, folder)]


def is_of(job: SlurmJob, folder: Path) -> bool:
    """Tell whether what the job prints goes into *folder*, that of a launcher."""
    return job.output.parent.resolve() == folder.resolve()


def is_own(numbers: Collection[int]) -> bool:
    """Tell whether this process is part of one of these jobs or arrays."""
    own = {os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID")}
    return not own.isdisjoint(map(str, numbers))


def _job(line: str) -> SlurmJob | None:
    cells = line.split("|", 4)
    if len(cells) < 5 or not (cells[1].isdecimal() and cells[3].isdecimal()):
        return None
    return SlurmJob(cells[0], int(cells[1]), cells[2], int(cells[3]), Path(cells[4]))


@functools.cache
def _own_cluster() -> str:
    """Return the name of the cluster that Slurm's commands speak of; empty where they do not say it."""
    done = _run("scontrol", "show", "config")
    found = re.search(r"^ClusterName\s*= (\S+)$", done.stdout, re.MULTILINE) if done is not None else None
    return found[1] if found else ""


def _run(*command: str, limit: float = _ASK_LIMIT) -> subprocess.CompletedProcess[str] | None:
    """Run one of Slurm's commands; return None where it cannot be run or does not answer in *limit* seconds."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=limit, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def cancel_jobs(numbers: Sequence[int]) -> None:
    """Let Slurm stop jobs, or forget those that wait.

    Raises:
        RunFailedError: it does not.
    """
    if not numbers:
        return
    done = _run("scancel", "--quiet", *map(str, numbers), limit=_CANCEL_LIMIT)
    if done is None or (done.returncode and _GONE not in done.stderr):
        said = done.stderr.strip() if done is not None else "scancel does not answer"
        raise RunFailedError(f"The jobs in Slurm cannot be cancelled: {said}")


class _Watched:
    """Asks Slurm about all jobs of interest at once, and not too often."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._asked = -float("inf")
        self._jobs: dict[int, SlurmJob] | None = None

    def find(self, number: int) -> tuple[bool, SlurmJob | None]:
        """Return whether Slurm has answered, and the job if it is there."""
        if number not in self._numbers or time.monotonic() - self._asked > ASK_SECONDS:
            self._numbers.add(number)
            jobs = jobs_in_slurm(self._numbers)
            self._jobs = None if jobs is None else {each.number: each for each in jobs}
            self._numbers = {number} | (self._jobs or {}).keys()  # the others have ended, for good
            self._asked = time.monotonic()
        return self._jobs is not None, (self._jobs or {}).get(number)


_watched = _Watched()


def owner_lives(owner: str) -> bool | None:
    """Tell whether the job is still there that a process was part of.

    Args:
        owner: What :func:`own_job` returned there.

    Returns:
        None where that is not for Slurm to say: the process was part of no job, of this one, or of one of another
        cluster, or Slurm is silent.
    """
    match = _OWNER.fullmatch(owner)
    if match is None or owner == own_job() or match["cluster"] != _own_cluster():
        return None
    has_answered, job = _watched.find(int(match["number"]))
    if not has_answered:
        return None
    return job is not None and job.state != "PENDING" and job.restarts == int(match["restarts"])


def is_submitted(folder: Path) -> bool | None:
    """Tell whether any job that was submitted for a run or sweep waits or runs; None where Slurm does not say."""
    jobs = jobs_of(folder)
    return None if jobs is None or not numbers_in_slurm(folder) else bool(jobs)
