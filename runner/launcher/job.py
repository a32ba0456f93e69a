"""What runs inside of a job: the program itself, as a child that is asked to stop when the time is nearly over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from submitit.core.utils import DelayedSubmission

from runner.errors import RunFailedError
from runner.folder_lock import is_locked
from runner.queued_run import CANCELLED, QUEUED, mark_queued, mark_stuck
from runner.run_folder import RunFolder
from runner.slurm_jobs import is_silent, jobs_in_slurm
from runner.sweep.point import MAX_ATTEMPTS, progress_of
from runner.sweep.sweep_folder import SweepFolder

STOP_SECONDS = 60.0
"""How long the program may take to stop. A run takes 30 at most, and the trials of a sweep as long."""

_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends the one that means the end of the time to every process of the job."""

_STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit codes of a program that did as it was told; the second while it was still starting."""

_AT_WORK = frozenset({"RUNNING", "SIGNALING", "CONFIGURING", "STOPPED", "SUSPENDED"})
"""States of a job that nobody has cancelled or requeued meanwhile."""

_REQUEUE_PAUSES = (1.0, 5.0, 10.0)
"""Seconds before ``scontrol requeue`` is tried again: the controller may be away for a moment."""

_REQUEUE_SECONDS = 10.0

_SUBMITTER_SECONDS = 30.0
"""How long whoever submitted the job may keep the folder's lock after that."""

_TASK_VARIABLES = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_ID")


@dataclass
class RunJob:
    """A job. submitit calls it, and :meth:`checkpoint` when the job is to be stopped and to go on later."""

    folder: Path
    """The run or sweep; on a file system that all nodes have."""
    arguments: Sequence[str]
    """Of the program, besides ``--resume``."""
    cwd: Path
    """Where it is started."""
    only_once: Sequence[str] = ()
    """More arguments, that the run has written down when it goes on after a stop."""
    counts_steps: bool = True
    """Whether a run that was stopped in the middle of an epoch goes on there."""
    progress: Sequence[int] = ()
    """How far the run had come when the job began the last time."""
    fruitless: int = 0
    """How often it was stopped without having got any further."""
    is_part: bool = False
    """Whether other jobs work in the same run folder at the same time."""
    may_requeue: bool = True
    """Whether it goes on by itself after the end of its time."""
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Run the program to its end.

        Raises:
            RunFailedError: its exit code was not 0.
        """
        if not self._is_sweep and RunFolder(self.folder).read_status().get("exit_reason") == CANCELLED:
            sys.exit(f"{self.folder}: {CANCELLED}")  # at the very moment when it was requeued
        self._wait_for_submitter()
        try:
            code = self._run()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:  # of submitit's signal handler
            self._requeue(error.cmd)
        if code != 0:
            raise RunFailedError(f"the run ended with exit code {code}; see {self.folder}")

    def _run(self) -> int | None:
        program = [sys.executable, "-P", "-m", "runner"]  # -P: not what is called so in the working directory
        command = [*program, f"--resume={self.folder}", *self.arguments, *self.only_once]
        print("+", *command, flush=True)
        self._child = subprocess.Popen(
            command, cwd=self.cwd, env=_environment(), preexec_fn=_ignore_signals  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # Slurm's own signals come to all processes of a job
            signal.signal(signal.SIGTERM, self._forward)
        return self._wait(None)

    def _forward(self, number: int, _: FrameType | None) -> None:
        if self._child is not None:
            self._child.send_signal(number)

    def _wait_for_submitter(self) -> None:
        """Wait until the folder is free; a program that still finds somebody in it says who that is."""
        end = time.monotonic() + _SUBMITTER_SECONDS
        is_first = os.environ.get("SLURM_PROCID", "0") == "0"
        while is_first and not self._is_sweep and is_locked(self.folder) and time.monotonic() < end:
            time.sleep(0.05)

    def checkpoint(self) -> DelayedSubmission:
        """Stop the program in good order and return what is to be run when the job starts again.

        Called inside of a signal handler. Where the program has come to its end meanwhile, or gets no further from one
        start to the next, where it may not be requeued or was cancelled, the job ends for good.
        """
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)
            code = self._wait(STOP_SECONDS)
            if code is None:
                self._child.kill()
            elif code not in _STOPPED:
                sys.exit(code)
        if _is_taken_away():
            self._end("its job was cancelled" if RunFolder(self.folder).read_status().get("state") == QUEUED else "")
        if not self.may_requeue:
            self._end("its time is over, and it is not requeued (--slurm_no_requeue)")
        if self._child is None:
            return DelayedSubmission(self)
        progress = self._progress()
        fruitless = self.fruitless + 1 if progress == list(self.progress) else 0
        if fruitless >= MAX_ATTEMPTS:
            reason = f"stopped {MAX_ATTEMPTS} times in a row by the end of its time without getting any further"
            self._mark(reason)
            raise RunFailedError(f"{reason}: {self.folder}")
        self._mark()
        return DelayedSubmission(replace(self, only_once=(), progress=progress, fruitless=fruitless))

    def _requeue(self, command: Sequence[str]) -> NoReturn:
        """Try again what submitit tried in vain, and end the job."""
        for pause in _REQUEUE_PAUSES:
            time.sleep(pause)
            is_taken_away = _is_taken_away()
            if is_taken_away:  # maybe since it was requeued all the same
                self._end("")
            if is_taken_away is None and is_silent():
                continue
            with suppress(OSError, subprocess.TimeoutExpired):
                if subprocess.run(command, check=False, timeout=_REQUEUE_SECONDS).returncode == 0:
                    sys.exit(0)
        self._end("its time is over, and Slurm did not requeue it")

    def _end(self, reason: str) -> NoReturn:
        """End the job for good; a run says *reason*, if there is one."""
        if reason:
            self._mark(reason)
        sys.exit(f"{self.folder}: {reason or 'the job was taken away'}; it can go on with --resume")

    def _wait(self, seconds: float | None) -> int | None:
        """Return the exit code of the program; None if it is not over after *seconds*.

        Not ``Popen.wait``, which holds a lock that the signal handler would wait for.
        """
        assert self._child is not None
        descriptor = os.pidfd_open(self._child.pid)
        try:
            return self._child.wait() if select.select([descriptor], [], [], seconds)[0] else None
        finally:
            os.close(descriptor)

    def _progress(self) -> list[int]:
        """Return numbers of which one changes whenever something has got further."""
        if not self._is_sweep:
            return list(progress_of(RunFolder(self.folder), counts_steps=self.counts_steps))
        sweep = SweepFolder(self.folder)
        open_trials = sorted(sweep.started() - sweep.sealed().keys())
        runs = [progress_of(RunFolder(sweep.point(each)), counts_steps=self.counts_steps) for each in open_trials]
        return [len(sweep.sealed()), *map(sum, runs)]

    def _mark(self, reason: str = "") -> None:
        """Let a run say that it waits, or why it does not any more; sweeps and parts say nothing of themselves."""
        if self._is_sweep or self.is_part:
            return
        if reason:
            mark_stuck(RunFolder(self.folder), reason)
        else:
            mark_queued(RunFolder(self.folder))

    @property
    def _is_sweep(self) -> bool:
        return (self.folder / "plan.json").is_file()


def _is_taken_away() -> bool | None:
    """Tell whether this job was cancelled, or requeued by Slurm itself; None where Slurm does not answer."""
    number = os.environ.get("SLURM_JOB_ID", "")
    jobs = jobs_in_slurm([int(number)]) if number.isdecimal() else None
    if jobs is None:
        return None
    return not any(job.number == int(number) and job.state in _AT_WORK for job in jobs)


def _environment() -> dict[str, str]:
    """Return the environment of the program. One that is alone in its job starts what else it needs by itself."""
    is_alone = os.environ.get("SLURM_NTASKS", "1") == "1"
    return {name: value for name, value in os.environ.items() if not (is_alone and name in _TASK_VARIABLES)}


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
