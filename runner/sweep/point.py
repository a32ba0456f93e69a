"""One trial in a process of its own: take its lock, run it or go on with it, seal its result."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.atomic_files import is_disk_full, write_json
from runner.command_line import Override
from runner.config_files import read_config
from runner.container_loader import find_container
from runner.container_values import lacks_secret
from runner.environment import redact
from runner.errors import EXIT_FAILED, RankDiedError, RunFailedError, RunInterrupted, TrialPrunedError
from runner.preparation import CONFIGS_FOLDER, Plan
from runner.run_folder import RunFolder
from runner.stop_signals import StopSignals
from runner.sweep.code_digest import code_digest
from runner.sweep.history import History
from runner.sweep.objective_values import epoch_values, read_json, with_values
from runner.sweep.plan import SweepPlan
from runner.sweep.sweep_folder import SweepFolder
from runner.sweep.trials import CANCELLED, COMPLETED, FAILED, GIVEN_UP, PRUNED, Trial

DEVICES_VARIABLE = "LIGHTCASE_TRIAL_DEVICES"
"""Environment variable that tells a trial in a fresh process how many devices it has."""

EXIT_SEALED = 0
EXIT_BUSY = 75
"""Another process has the trial: EX_TEMPFAIL of sysexits.h, which user code hardly ends with."""
EXIT_NO_SPACE = 73
"""The disk is full, which is not the trial's fault: it stays open."""
EXIT_CANNOT_WRITE = 74
"""The same where it is read-only or broken."""

MAX_ATTEMPTS = 3
"""A trial that died so often without getting any further is given up."""

LOOK_SECONDS = 1.0
"""How often a trial looks whether somebody wants it to stop."""

KILL_SECONDS = 40.0
"""How long it may take to do so."""


@dataclass(frozen=True)
class Attempts:
    """How often a trial was tried."""

    attempts: int = 0
    fruitless: int = 0
    """The last attempts that died without getting any further."""
    progress: tuple[int, ...] = ()
    """How far the trial had come when the last attempt began."""
    seconds: float = 0.0
    """Time of the attempts before the last."""

    def to_json(self) -> dict[str, Any]:
        """Return what is written down."""
        return vars(self) | {"progress": list(self.progress)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Attempts:
        """Return what :meth:`to_json` wrote; no attempts where that cannot be read."""
        with suppress(TypeError, ValueError, KeyError):
            return cls(int(body["attempts"]), int(body["fruitless"]), tuple(body["progress"]), float(body["seconds"]))
        return cls()


def work_on(sweep: SweepFolder, number: int) -> int:
    """Run a trial, in a process that is there for nothing else, and return the exit code.

    Returns:
        0 if the result is sealed, whatever it is; 75 if another process has the trial; 73 if the disk is full; 74 if
        its records cannot be written; 1 for what else went wrong around the run itself; 128 plus the number of the
        signal that stopped it.
    """
    folder = RunFolder(sweep.point(number))
    folder.path.mkdir(exist_ok=True)
    if not folder.try_lock():
        return EXIT_BUSY
    try:
        stop = StopSignals()
        with _printing_to(sweep.console(number)), stop.installed():
            try:
                return stop.interruptible(_run_locked, sweep, number, folder)
            except RunInterrupted as error:  # before or after the run itself
                return error.exit_code
            except Exception as error:  # of our own: nobody looks at a worker's terminal
                _print_traceback()
                if is_disk_full(error):
                    return EXIT_NO_SPACE
                return EXIT_CANNOT_WRITE if isinstance(error, OSError) else EXIT_FAILED
    finally:
        folder.unlock()


def join(sweep: SweepFolder, number: int) -> int:
    """Take part in a trial that trains on several devices, as one of the processes that Lightning started for it."""
    from runner.experiment import execute
    from runner.log_setup import console_logging

    plan, point = SweepPlan.of(sweep), sweep.read_point(number)
    assert point is not None, "the first process has read it"
    run_plan = _with_devices(plan.run_plan(point["params"], command_line=sys.argv))
    running = _RunningTrial(RunFolder(sweep.point(number)), sweep, plan, number)
    with console_logging("INFO") as context:
        execute(replace(run_plan, trial=running), context)
    return EXIT_SEALED


def _with_devices(plan: Plan) -> Plan:
    """Let the trial train on as many devices as its slot has, unless the user says how many."""
    count = os.environ.get(DEVICES_VARIABLE)
    if count is None or any(override.name == "devices" for override in plan.overrides):
        return plan
    return replace(plan, overrides=[*plan.overrides, Override("devices", count, "devices_per_trial")])


def _run_locked(sweep: SweepFolder, number: int, folder: RunFolder) -> int:
    if number in sweep.sealed():
        return EXIT_SEALED
    folder.clean()
    plan = SweepPlan.of(sweep)
    point = sweep.read_point(number)
    if point is None:
        raise RunFailedError(f"{sweep.point(number)}: no parameters were written down for this trial.")
    trial = Trial(number, point["setting"], COMPLETED, point["params"])
    if sweep.stop_asked(number) is not None:
        return _seal(sweep, _stopped(sweep, trial))
    attempts = _count_attempt(sweep, number, folder)
    trial = replace(trial, attempts=attempts.attempts)
    if attempts.fruitless > MAX_ATTEMPTS:
        reason = f"died {MAX_ATTEMPTS} times without getting any further; see {folder.log.name} and console.log"
        return _seal(sweep, replace(trial, state=GIVEN_UP, reason=reason, attempts=attempts.attempts - 1))
    started = time.monotonic()
    try:
        with _watching_for_stop(sweep, number):
            trial = _ended(sweep, plan, trial, folder)
    except RunInterrupted as error:
        write_json(sweep.attempts(number), attempts.to_json() | {"stopped": True})
        return error.exit_code
    seconds = attempts.seconds + time.monotonic() - started
    return _seal(sweep, _with_progress(replace(trial, seconds=seconds), plan, folder), _code(plan))


def _ended(sweep: SweepFolder, plan: SweepPlan, trial: Trial, folder: RunFolder) -> Trial:
    """Run the trial and return it with what came out.

    Raises:
        RunInterrupted: somebody stopped it, to go on later.
        RankDiedError: one of its processes was killed; it goes on later.
        OSError: the disk is full.
    """
    from runner.metrics_table import last_row

    try:
        metrics = _run(sweep, plan, trial, folder)
    except RunInterrupted:
        if sweep.stop_asked(trial.number) is None:  # or the whole sweep is cancelled, and may be resumed
            raise
        return _stopped(sweep, trial)
    except RankDiedError:  # as if this process had died
        raise
    except TrialPrunedError:
        return replace(trial, state=PRUNED, metrics=last_row(folder.metrics))
    except BaseException as error:  # of user code: the rest of the sweep goes on
        _print_traceback()
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, "the disk is full") from error
        return replace(trial, state=FAILED, reason=redact(f"{type(error).__name__}: {error}")[:2000])
    return with_values(replace(trial, metrics=metrics), plan.objectives, folder)


def _run(sweep: SweepFolder, plan: SweepPlan, trial: Trial, folder: RunFolder) -> dict[str, float]:
    from runner.experiment import execute
    from runner.log_setup import console_logging

    folder.checkpoints.mkdir(exist_ok=True)
    run_plan = _with_devices(plan.run_plan(trial.params, command_line=sys.argv))
    if folder.can_resume:  # config.yaml has all values but secrets
        lacking = {value.name for value in read_config(str(folder.config), CONFIGS_FOLDER) if lacks_secret(value)}
        run_plan = Plan(
            model=run_plan.model,
            overrides=[override for override in run_plan.overrides if override.name in lacking],
            containers=run_plan.containers,
            namespace=run_plan.namespace,
            resume=folder.path,
            command_line=run_plan.command_line,
        )
    run_plan = replace(run_plan, trial=_RunningTrial(folder, sweep, plan, trial.number))
    with console_logging("INFO") as context:
        return execute(run_plan, context).metrics


class _RunningTrial:
    """What the run asks its sweep."""

    def __init__(self, folder: RunFolder, sweep: SweepFolder, plan: SweepPlan, number: int) -> None:
        self.folder = folder
        self._history = History(sweep, plan)
        self._plan = plan
        self._number = number
        self.other_files = sweep.files_of_trial
        self.should_prune: Callable[[int], bool] | None = self._is_to_be_pruned if plan.pruner is not None else None

    def _is_to_be_pruned(self, epoch: int) -> bool:
        """Compare the trial with the others."""
        from runner.sweep.pruners import should_prune

        assert self._plan.pruner is not None
        own = {
            each: value
            for each, value in epoch_values(self.folder.metrics, self._plan.objectives[0].metric).items()
            if each < epoch
        }
        self._history.refresh()
        others = [trial for trial in self._history.trials() if trial.number != self._number]
        direction = self._plan.objectives[0].direction
        return should_prune(self._plan.pruner, direction, self._number, own, others, self._plan.seed)


def _with_progress(trial: Trial, plan: SweepPlan, folder: RunFolder) -> Trial:
    epochs = int(read_json(folder.status).get("epochs_finished", 0))
    intermediate = epoch_values(folder.metrics, plan.objectives[0].metric) if plan.objectives else {}
    return replace(trial, epoch=epochs, intermediate=intermediate)


def _seal(sweep: SweepFolder, trial: Trial, code: str = "") -> int:
    sweep.seal(trial, code)
    return EXIT_SEALED


def _print_traceback() -> None:
    with suppress(OSError):  # the disk is full
        traceback.print_exc()


def _is_to_stop(sweep: SweepFolder, number: int) -> bool:
    return sweep.stop_asked(number) is not None or sweep.read_control().cancelled


def _code(plan: SweepPlan) -> str:
    """Return the digest of the code that the trial ran; the container was found before."""
    try:
        return code_digest(find_container(plan.model, Path(plan.containers), plan.namespace))
    except Exception:  # what is wrong with it, the result tells
        return ""


def _count_attempt(sweep: SweepFolder, number: int, folder: RunFolder) -> Attempts:
    """Write down that an attempt begins. One that was asked to stop does not count against the trial."""
    body = read_json(sweep.attempts(number))
    before = Attempts.from_json(body)
    status = read_json(folder.status)
    progress = progress_of(folder)
    fruitless = before.fruitless + 1 if progress == before.progress and not body.get("stopped") else 1
    seconds = before.seconds + float(status.get("uptime_seconds", 0.0))
    now = Attempts(before.attempts + 1, fruitless, progress, seconds)
    write_json(sweep.attempts(number), now.to_json())
    return now


def progress_of(folder: RunFolder, *, counts_steps: bool = False) -> tuple[int, ...]:
    """Return numbers of which one changes whenever a run has got further.

    Args:
        folder: The run.
        counts_steps: Whether a stop in the middle of an epoch counts, since the run goes on from there.
    """
    status = read_json(folder.status)
    maps = folder.saliency / "maps"
    explained = sum(entry.stat().st_size for entry in os.scandir(maps)) if maps.is_dir() else 0
    numbers = (len(status.get("phases", {})), int(status.get("epochs_finished", 0)), explained)
    middle = folder.interrupted_checkpoint
    return (*numbers, middle.stat().st_mtime_ns if middle.is_file() else 0) if counts_steps else numbers


def _stopped(sweep: SweepFolder, trial: Trial) -> Trial:
    reason = sweep.stop_asked(trial.number)
    return replace(trial, state=FAILED, reason=reason) if reason else replace(trial, state=CANCELLED)


@contextmanager
def _watching_for_stop(sweep: SweepFolder, number: int) -> Iterator[None]:
    """Stop this process in good order when somebody asks for it, and at once if it does not obey."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            if _is_to_stop(sweep, number):
                os.kill(os.getpid(), signal.SIGTERM)
                if not done.wait(KILL_SECONDS):
                    os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="stop", daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _printing_to(path: Any) -> Iterator[None]:
    """Let all that this process and its children print go to a file."""
    with suppress(ValueError, OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    with path.open("ab", buffering=0) as file:
        before = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            with suppress(ValueError, OSError):  # closed by the user's code
                sys.stdout.flush()
                sys.stderr.flush()
            logging.shutdown()
            for saved, target in zip(before, (1, 2), strict=True):
                os.dup2(saved, target)
                os.close(saved)
