"""What runs inside of a job: the program itself, as a child that is asked to stop when the time is nearly over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from runner.errors import RunFailedError
from runner.queued_run import mark_queued, mark_stuck
from runner.run_folder import RunFolder
from runner.sweep.point import MAX_ATTEMPTS, progress_of
from runner.sweep.sweep_folder import SweepFolder

STOP_SECONDS = 60.0
"""How long the program may take to stop. A run takes 30 at most, and the trials of a sweep as long."""

_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends the one that means the end of the time to every process of the job."""

_STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit codes of a program that did as it was told; the second while it was still starting."""

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
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Run the program to its end.

        Raises:
            RunFailedError: its exit code was not 0.
        """
        program = [sys.executable, "-P", "-m", "runner"]  # -P: not what is called so in the working directory
        command = [*program, f"--resume={self.folder}", *self.arguments, *self.only_once]
        print("+", *command, flush=True)
        self._child = subprocess.Popen(
            command, cwd=self.cwd, env=_environment(), preexec_fn=_ignore_signals  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        code = self._wait(None)
        if code != 0:
            raise RunFailedError(f"the run ended with exit code {code}; see {self.folder}")

    def checkpoint(self) -> DelayedSubmission:
        """Stop the program in good order and return what is to be run when the job starts again.

        Called inside of a signal handler. Where the program has come to its end meanwhile, or gets no further from one
        start to the next, the job ends for good.
        """
        if self._child is None:
            return DelayedSubmission(self)
        self._child.send_signal(signal.SIGTERM)
        code = self._wait(STOP_SECONDS)
        if code is None:
            self._child.kill()
        elif code not in _STOPPED:
            sys.exit(code)
        progress = self._progress()
        fruitless = self.fruitless + 1 if progress == list(self.progress) else 0
        if fruitless >= MAX_ATTEMPTS:
            reason = f"stopped {MAX_ATTEMPTS} times in a row by the end of its time without getting any further"
            self._mark(reason)
            raise RunFailedError(f"{reason}: {self.folder}")
        self._mark()
        return DelayedSubmission(replace(self, only_once=(), progress=progress, fruitless=fruitless))

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


def _environment() -> dict[str, str]:
    """Return the environment of the program. One that is alone in its job starts what else it needs by itself."""
    is_alone = os.environ.get("SLURM_NTASKS", "1") == "1"
    return {name: value for name, value in os.environ.items() if not (is_alone and name in _TASK_VARIABLES)}


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
