"""The supervisor: keeps every slot of the machine busy with trials. It has no state that anyone would miss."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Protocol

from runner.errors import RunInterrupted
from runner.number_text import format_metrics, format_seconds
from runner.run_folder import RunFolder
from runner.shown import brief
from runner.stop_signals import say, stopping_signals
from runner.sweep.objective_values import read_json
from runner.sweep.point import EXIT_BUSY, EXIT_CANNOT_WRITE, EXIT_NO_SPACE, EXIT_SEALED
from runner.sweep.queue_state import Queue, SweepState
from runner.sweep.trials import FAILED, GIVEN_UP, Trial
from runner.sweep.workers import Slot, WarmServer, Worker, send

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a trial that was asked to stop may take to do so."""

POLL_SECONDS = 0.5

_NO_DEATHS = (EXIT_SEALED, EXIT_BUSY, EXIT_NO_SPACE, EXIT_CANNOT_WRITE)


@dataclass(frozen=True)
class Limits:
    """When to stop trials, or all."""

    trial_timeout: float | None = None
    """Seconds that one attempt at a trial may take."""
    stall_timeout: float | None = None
    """Seconds that a trial may take without finishing an epoch or a phase."""
    time: float | None = None
    """Seconds after which no more trials are started and those that run are stopped; they stay open."""
    max_failures: int | None = None
    """Failed trials after which the sweep is paused."""
    fail_fast: bool = False
    """Stop all at the first failed trial."""


class Display(Protocol):
    """What a supervisor tells of its work."""

    def event(self, state: SweepState, text: str) -> None:
        """Tell that something happened."""

    def update(self, states: Sequence[SweepState]) -> None:
        """Show how things stand; called about twice a second."""


@dataclass
class _Watch:
    """When a trial began and when it was last seen to get further."""

    started: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    progress: Any = None


@dataclass
class _Job:
    state: SweepState
    number: int
    slot: Slot
    worker: Worker
    watch: _Watch = field(default_factory=_Watch)
    stopping: float | None = None
    """When it was asked to stop."""


class Supervisor:
    """Starts workers for trials until nothing is left to do, and watches over them."""

    def __init__(self, queue: Queue, slots: Sequence[Slot], limits: Limits, display: Display) -> None:
        self._queue = queue
        self._slots = list(slots)
        self._limits = limits
        self._display = display
        pruning = ["optuna"] if any(state.plan.pruner for state in queue.states()) else []
        self._server = WarmServer(slots[0].threads, *pruning)
        self._jobs: list[_Job] = []
        self._adopted: dict[tuple[str, int], _Watch] = {}
        """Trials that a supervisor before this one, or beside it, has started."""
        self._signal: int | None = None
        self._is_over = False
        """Whether no more trials are to be started."""
        self._started = time.monotonic()

    def run(self) -> None:
        """Work until all sweeps are done, paused or cancelled.

        Raises:
            RunInterrupted: a signal stopped it, after its trials had stopped in good order.
        """
        with self._signals():
            while True:
                self._reap()
                if not self._is_over:
                    self._fill()
                if not self._jobs and (self._is_over or not self._queue.has_more()):
                    break
                self._watch()
                self._display.update(self._queue.states())
                wait([job.worker.sentinel for job in self._jobs], timeout=POLL_SECONDS)
        self._display.update(self._queue.states())
        if self._signal is not None:
            raise RunInterrupted(self._signal)

    # --- starting ---------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start a worker in each free slot."""
        busy = {job.slot.number for job in self._jobs}
        for slot in self._slots:
            if slot.number in busy or self._is_over:
                continue
            found = self._queue.next()
            if found is None:
                return
            state, number = found
            state.took(number)
            self._jobs.append(_Job(state, number, slot, self._server.start(state.folder.path, number, slot)))

    # --- ending -----------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Look which workers have ended, and how."""
        for job in list(self._jobs):
            code = job.worker.exit_code()
            if code is not None:
                self._jobs.remove(job)
                job.worker.close()
                with self._queue.serving(job.state):
                    self._ended(job, code)

    def _ended(self, job: _Job, code: int) -> None:
        trial = job.state.ended(job.number, has_died=code not in _NO_DEATHS)
        if trial is not None:
            self._display.event(job.state, describe(trial, job.state))
            self._react(job.state, trial)
        elif code == EXIT_NO_SPACE:
            self._pause(job.state, f"the disk is full, as trial {job.number} found")
        elif code == EXIT_CANNOT_WRITE:
            console = job.state.folder.console(job.number)
            self._pause(job.state, f"trial {job.number} cannot write its records; see {console}")
        elif job.state.control.cancelled:
            self._display.event(job.state, f"trial {job.number} stopped, since the sweep was cancelled")
        elif code not in (EXIT_SEALED, EXIT_BUSY) and job.stopping is None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._display.event(job.state, f"trial {job.number} died ({how}); it will go on from its last epoch")
        reason = job.state.reason_to_pause()
        if reason:
            self._pause(job.state, reason)

    def _react(self, state: SweepState, trial: Trial) -> None:
        if trial.state not in (FAILED, GIVEN_UP):
            return
        if self._limits.fail_fast:
            self._pause(state, f"trial {trial.number} failed, and --fail_fast was given")
            self._stop_all()
        elif self._limits.max_failures is not None and state.failures >= self._limits.max_failures:
            self._pause(state, f"{state.failures} trials failed")

    def _pause(self, state: SweepState, reason: str) -> None:
        if state.control.is_open:
            state.pause(reason)
            self._display.event(state, f"paused: {reason}")

    # --- watching ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Stop what hangs or takes too long, and kill what does not stop."""
        now = time.monotonic()
        if self._limits.time is not None and now - self._started > self._limits.time and not self._is_over:
            log.warning("the time that the sweep was given is over: stopping its trials, which stay open")
            self._stop_all()
        for job in self._jobs:
            if self._is_over:  # it was just being started when the signal came
                self._stop(job)
            if job.number in job.state.history.sealed and job.stopping is None:
                job.stopping = now  # what is left are threads and exit handlers of the user's code
            if job.stopping is not None:
                if now - job.stopping > STOP_SECONDS:
                    send(job.worker, signal.SIGKILL)
                continue
            reason = self._overdue(job.state, job.number, job.watch)
            if reason:
                with self._queue.serving(job.state):
                    job.state.folder.ask_to_stop(job.number, reason)
                self._stop(job)
        if self._limits.trial_timeout is not None or self._limits.stall_timeout is not None:
            self._watch_adopted()

    def _watch_adopted(self) -> None:
        """Ask trials to stop that are overdue and have no supervisor, or another; they look for that themselves."""
        found = {
            (state.folder.name, number): (state, number) for state in self._queue.states() for number in state.adopted()
        }
        self._adopted = {key: self._adopted.get(key, _Watch()) for key in found}
        for key, (state, number) in found.items():
            reason = self._overdue(state, number, self._adopted[key])
            with self._queue.serving(state):
                if reason and state.folder.stop_asked(number) is None:
                    state.folder.ask_to_stop(number, reason)

    def _overdue(self, state: SweepState, number: int, watch: _Watch) -> str:
        """Return why a trial is to be stopped; empty if it is not."""
        limits, now = self._limits, time.monotonic()
        if limits.trial_timeout is not None and now - watch.started > limits.trial_timeout:
            return f"took longer than {limits.trial_timeout:g} s"
        if limits.stall_timeout is not None:
            status = read_json(RunFolder(state.folder.point(number)).status)
            progress = (status.get("phase"), status.get("epochs_finished"))
            if progress != watch.progress:
                watch.progress, watch.moved = progress, now
            elif now - watch.moved > limits.stall_timeout:
                return f"got no further for {limits.stall_timeout:g} s"
        return ""

    # --- stopping ---------------------------------------------------------------------------------------------------

    def _stop(self, job: _Job) -> None:
        if job.stopping is None:
            job.stopping = time.monotonic()
            send(job.worker, signal.SIGTERM)

    def _stop_all(self) -> None:
        self._is_over = True
        for job in self._jobs:
            self._stop(job)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop trials in good order at the first signal, at once at the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in stopping_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: Any) -> None:
        if self._signal is None:
            self._signal = number
            say(f"{signal.Signals(number).name}: trials stop after this step; once more stops them now")
            self._stop_all()
            return
        for job in self._jobs:
            send(job.worker, signal.SIGKILL)


def describe(trial: Trial, state: SweepState) -> str:
    """Return how a trial ended in one line."""
    params = " ".join(f"{name}={brief(value)}" for name, value in trial.params.items())
    values = trial.values or ()
    objectives = zip(state.plan.objectives, values, strict=False)
    shown = "  ".join(f"{objective.metric} {value:.4g}" for objective, value in objectives)
    if not shown and trial.metrics:
        chosen = sorted(trial.metrics, key=lambda name: ("test" not in name, "val" not in name))[:3]
        shown = format_metrics({name: trial.metrics[name] for name in chosen})
    state_text = f"trial {trial.number} {trial.state.replace('_', ' ')}"
    return "  ".join(filter(None, [state_text, params, trial.reason or shown, format_seconds(trial.seconds)]))
