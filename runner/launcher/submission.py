"""The joint to submitit: one batch script for a job or an array of jobs, looked at, tried out, submitted."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
import uuid
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from submitit import Executor, Job, LocalExecutor, SlurmExecutor, SlurmJob
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from runner.command_line import SLURM_PREFIX
from runner.errors import RunFailedError, UsageError, did_you_mean
from runner.launcher.job import RunJob
from runner.launcher.options import LOCAL, OURS, LaunchOptions
from runner.slurm_jobs import Launch, add_launch, cancel_jobs

_HOME = Path(__file__).parents[2]
_WITHOUT_END = 1_000_000
"""How often submitit may requeue a job; a :class:`RunJob` itself knows when that is of no use."""

_COMMAND_SECONDS = 60.0
_PREFIX = re.compile(r"^(sbatch|allocation failure): (error: |fatal: )?", re.MULTILINE)

_SRUN = ("--export=ALL",)
"""``srun`` passes on what our script sets, whatever ``sbatch`` was told of the environment."""

_VARIABLES = {"array": "array_inx", "mem": "mem_per_node", "time": "timelimit"}
"""What the variable of an option is called after ``SBATCH_``, where that is not its name."""

_NOT_NOW = "Requested node configuration is not available"
"""Slurm says so while nodes are down or the job is not possible, and takes it all the same: it waits."""


@dataclass(frozen=True)
class Shape:
    """How many processes a job has."""

    nodes: int = 1
    tasks_per_node: int = 1


class Submission:
    """Jobs for one run or sweep that are submitted together."""

    def __init__(self, folder: Path, options: LaunchOptions, count: int, shape: Shape, after: str = "") -> None:
        """Prepare; nothing is written.

        Args:
            folder: That of the launcher in the run or sweep; it need not be there yet.
            options: What was asked for.
            count: How many jobs; more than one are an array.
            shape: Of each job.
            after: Number of a job or array that has to end first, however it ends.
        """
        self._folder = folder
        self._options = options
        self._count = count
        is_local = options.launcher == LOCAL  # whose executor makes its folder at once
        self._executor = None if is_local else _slurm(folder, options, count, shape, after)

    @property
    def script(self) -> str:
        """What Slurm is to run."""
        return self._executor.script(self._count) if self._executor is not None else ""

    def check(self) -> None:
        """Let Slurm say whether it would take the script, without submitting it.

        Raises:
            UsageError: it would not, or does not answer.
        """
        if not self.script:
            return
        try:
            done = subprocess.run(["sbatch", "--test-only"], input=self.script, capture_output=True, text=True,
                                  check=False, timeout=_COMMAND_SECONDS, env=_variables(self.script))  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UsageError(f"--launcher=slurm: sbatch did not answer within {_COMMAND_SECONDS:g} s.") from None
        if done.returncode and _NOT_NOW not in done.stderr:
            said = _PREFIX.sub("", done.stderr).strip().splitlines() or ["it does not say why"]
            unknown = re.search(r"unrecognized option '--([^'=]+)", done.stderr)
            raise UsageError(f"Slurm refuses the job: {said[0]}.{_hint(unknown[1]) if unknown else ''}")

    def submit(self, jobs: Sequence[RunJob]) -> str:
        """Submit one job for each of *jobs*, write that down, and return the number of the job or array.

        Raises:
            RunFailedError: Slurm does not take them, or what they need cannot be written.
        """
        assert len(jobs) == self._count
        executor = self._executor if self._executor is not None else _local(self._folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # a process in the background is to outlive this one
                with executor.batch():
                    submitted = [executor.submit(job) for job in jobs]
                number = str(submitted[0].job_id).partition("_")[0]
                del submitted
            now = datetime.now(UTC).isoformat(timespec="seconds")
            add_launch(self._folder, Launch(self._options.launcher, number, self._count, self._options.recorded, now))
        except BaseException as error:
            if isinstance(executor, _SlurmExecutor) and executor.taken:  # a job that nobody knows of
                with suppress(RunFailedError):
                    cancel_jobs([executor.taken])
            if isinstance(error, FailedJobError | FailedSubmissionError):
                raise RunFailedError(f"Slurm does not take the job: {str(error).strip()}") from error
            if isinstance(error, OSError):
                raise RunFailedError(f"The job cannot be submitted: {error}.") from error
            raise
        return number


class _SlurmExecutor(SlurmExecutor):
    """submitit's, whose script can be read before it is submitted, on any machine, and whose sbatch may not hang."""

    taken = 0
    """Number of the job or array that Slurm has taken."""

    @classmethod
    def affinity(cls) -> int:
        """Do not ask for srun; that sbatch is there is known by now."""
        return 1

    def script(self, count: int) -> str:
        """Return the text for ``sbatch``, of an array where *count* is more than 1."""
        return self._as_array(count)._make_submission_file_text(self._submitit_command_str, "")

    def _as_array(self, count: int) -> _SlurmExecutor:
        array = copy.copy(self)
        array.parameters = self.parameters | ({"map_count": count} if count > 1 else {})
        return array

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        """Do what submitit does, which makes another kind of executor for an array."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pickles = [self.folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for delayed, path in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(path)
        script = self.folder / f"{uuid.uuid4().hex}.sh"
        script.write_text(self.script(len(pickles)), encoding="utf-8")
        number = self._sbatch(script)
        names = [f"{number}_{task}" for task in range(len(pickles))] if len(pickles) > 1 else [number]
        jobs = [SlurmJob[Any](folder=self.folder, job_id=name, tasks=list(range(self._num_tasks()))) for name in names]
        jobs[0].paths.move_temporary_file(script, "submission_file")
        for job, path in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(path, "submitted_pickle")
        return list(jobs)

    def _sbatch(self, script: Path) -> str:
        """Submit *script* and return the number of the job or array."""
        try:
            done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False,
                                  timeout=_COMMAND_SECONDS, env=_variables(script.read_text("utf-8")))  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FailedSubmissionError(f"sbatch did not answer within {_COMMAND_SECONDS:g} s.") from None
        if done.returncode:
            raise FailedJobError(_PREFIX.sub("", done.stderr).strip() or "it does not say why")
        number = self._get_job_id_from_submission_command(done.stdout)
        self.taken = int(number)
        return number


def _variables(script: str) -> dict[str, str]:
    """Return the environment for ``sbatch``, to which its variables would count more than what the script says."""
    ours = {*OURS, "time", "job_name", "requeue", "no_requeue", *re.findall(r"^#SBATCH --([a-z-]+)", script, re.M)}
    names = {f"SBATCH_{_VARIABLES.get(name, name).upper()}" for name in (each.replace("-", "_") for each in ours)}
    return {name: value for name, value in os.environ.items() if name not in names}


def _job_name(folder: str) -> str:
    """Return the name of a folder with that of its container first: ``squeue`` shows eight letters."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d{6}Z)_(.+)", folder)
    return f"{found[2]}_{found[1]}" if found else folder


def _slurm(folder: Path, options: LaunchOptions, count: int, shape: Shape, after: str) -> _SlurmExecutor:
    """Return an executor with all that stands at the head of its script."""
    executor = _SlurmExecutor(folder, max_num_timeout=_WITHOUT_END)
    others: dict[str, Any] = {name.replace("_", "-"): value or True for name, value in options.sbatch.items()}
    if "no-requeue" not in others:
        others["requeue"] = True
    if after:
        others["dependency"] = f"afterany:{after}"
    threads = options.sbatch.get("cpus_per_task")
    executor.update_parameters(
        job_name=_job_name(folder.parent.name),
        time=options.minutes,
        nodes=shape.nodes,
        ntasks_per_node=shape.tasks_per_node,
        stderr_to_stdout=True,
        array_parallelism=count,
        wckey=None,
        setup=[f"export PYTHONPATH={shlex.quote(str(_HOME))}${{PYTHONPATH:+:$PYTHONPATH}}"],
        srun_args=[*_SRUN, *([f"--cpus-per-task={threads}"] if threads else [])],  # which it takes not from sbatch
        additional_parameters=others,
    )
    return executor


def _local(folder: Path) -> Executor:
    paths = [str(_HOME), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    executor = LocalExecutor(folder, max_num_timeout=_WITHOUT_END)
    executor.update_parameters(timeout_min=60 * 24 * 365, stderr_to_stdout=True)
    return executor


def _hint(unknown: str) -> str:
    """Return the options of ``sbatch`` that look like an unknown one."""
    done = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS)
    known = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+)", done.stdout)}
    return did_you_mean(unknown.replace("-", "_"), known, prefix=f"--{SLURM_PREFIX}")
