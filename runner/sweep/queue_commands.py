"""``queue``: what lies in the queue, and changing it. Reads file names only, so that it answers at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from runner.command_line import program_name
from runner.errors import RunnerError, UsageError, did_you_mean
from runner.folder_lock import FolderLock
from runner.shown import brief, printable
from runner.slurm_jobs import is_silent
from runner.sweep.history import History, states_of
from runner.sweep.plan import SweepPlan
from runner.sweep.queue_jobs import (
    SILENT,
    RunInSlurm,
    cancel_run,
    cancel_sweep,
    find_run,
    jobs_of_sweeps,
    runs_in_slurm,
    runs_table,
    was_submitted,
)
from runner.sweep.sweep_folder import SWEEPS, SweepFolder, sweeps_in
from runner.sweep.trials import CANCELLED, COMPLETED, FAILED, GIVEN_UP, PRUNED, Trial

ACTIONS = ("pause", "resume", "cancel", "priority", "retry")


def queue_command(arguments: Sequence[str], outputs: Path) -> str:
    """Do what ``queue ...`` asks for and return what to print.

    Raises:
        UsageError: there is no such action, sweep or trial.
        RunFailedError: a record is damaged.
    """
    if not arguments:
        return queue_table(outputs)
    action, *rest = arguments
    if action not in ACTIONS:
        raise UsageError(f"queue has no {action!r}; it has {', '.join(ACTIONS)}.{did_you_mean(action, ACTIONS)}")
    wanted = 2 if action == "priority" else 1
    if len(rest) != wanted:
        raise UsageError(f"Write: queue {action} NAME{' NUMBER' if action == 'priority' else '[/TRIAL]'}.")
    name, trial = _split(rest[0], outputs)
    if action == "cancel" and trial is None and (run := _run_to_cancel(outputs, name)):
        return cancel_run(run)
    sweep = find_sweep(outputs, name)
    if action == "priority":
        return _set_priority(sweep, rest[1])
    if trial is None:
        return _SWEEP_ACTIONS[action](sweep)
    if action not in _TRIAL_ACTIONS:
        raise UsageError(f"queue {action} is for a whole sweep: queue {action} {sweep.name}.")
    return _TRIAL_ACTIONS[action](sweep, _checked_number(sweep, trial))


def _run_to_cancel(outputs: Path, name: str) -> RunInSlurm | None:
    """Return the run with jobs that *name* means; None if it means a sweep, or nothing.

    Raises:
        UsageError: it means one of each, or nothing as far as can be seen while Slurm is silent.
    """
    run = find_run(outputs, name)
    try:
        sweep = find_sweep(outputs, name)
    except UsageError as error:
        if run is None and is_silent():
            raise UsageError(f"{error} {SILENT}.") from None
        return run
    if run is None:
        return None
    is_run, is_sweep = run.folder.path.name == name, sweep.name == name
    if is_run == is_sweep:
        raise UsageError(f"{name!r} is a run and a sweep: write {run.folder.path} or {sweep.path}.")
    return run if is_run else None


def queue_table(outputs: Path) -> str:
    """Return a table of all sweeps: those with a higher priority first, then those that came first."""
    sweeps = sorted(sweeps_in(outputs), key=lambda sweep: (-sweep.read_control().priority, sweep.sequence))
    runs = runs_table(runs_in_slurm(outputs))
    is_asked = is_silent() and was_submitted(outputs, sweeps)
    silence = [f"{SILENT}: what waits or runs there now is not known."] if is_asked else []
    if not sweeps:
        return "\n".join([*runs, *silence]) or "The queue is empty."
    jobs = jobs_of_sweeps(sweeps)
    rows = [("sweep", "state", "priority", "done", "running", "open", "failed", "what"), *map(_row, sweeps)]
    if jobs:
        rows = [(*row, "in Slurm" if place == 0 else jobs.get(row[0], "")) for place, row in enumerate(rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{row[0]}: paused, {sweep.read_control().paused}" for sweep, row in zip(sweeps, rows[1:], strict=True)
             if row[1] == "paused"]  # fmt: skip
    return "\n".join([*lines, *(printable(note, 300) for note in notes), *([""] if runs else []), *runs, *silence])


def _row(sweep: SweepFolder) -> tuple[str, ...]:
    control = sweep.read_control()
    try:
        plan = SweepPlan.of(sweep)
    except RunnerError:
        return (sweep.name, "damaged", str(control.priority), "", "", "", "", "")
    total = plan.total
    sealed = sweep.sealed()
    states = Counter(states_of(sweep).values())
    begun = sweep.started() - sealed.keys()
    running = sum(map(sweep.is_running, begun))
    left = total - len(sealed) - running
    done = states[COMPLETED] + states[PRUNED]
    failed = states[FAILED] + states[GIVEN_UP]
    return (sweep.name, _state(control.cancelled, control.paused, running, left), str(control.priority),
            f"{done}/{total}", str(running), str(left), str(failed), _what(plan))  # fmt: skip


def _what(plan: SweepPlan) -> str:
    """Return what varies, or what is set for a single run."""
    settings = [f"{name}={brief(value)}" for name, value in plan.fixed.items()]
    return printable(" ".join(["over", *plan.varied] if plan.varied else ["one run", *settings]), 60)


def _state(is_cancelled: bool, paused: str, running: int, left: int) -> str:
    if left == running == 0:
        return "done"
    if is_cancelled:
        return "cancelled"
    if paused:
        return "paused"
    return "running" if running else "queued"


def find_sweep(outputs: Path, name: str) -> SweepFolder:
    """Return the sweep called *name*: a path, the name of its folder, or a part of that which only one has.

    Raises:
        UsageError: there is none, or more than one.
    """
    with suppress(OSError):  # a word that can be no name of a file
        if (Path(name) / "plan.json").is_file():
            return SweepFolder.open(Path(name))
    sweeps = {each.name: each for each in sweeps_in(outputs)}
    if name in sweeps:
        return sweeps[name]
    matches = sorted(each for each in sweeps if name in each)
    if len(matches) == 1:
        return sweeps[matches[0]]
    if matches:
        raise UsageError(f"More than one sweep is called like {name!r}: {', '.join(matches)}.")
    raise UsageError(f"There is no sweep {name!r} below {outputs / SWEEPS}.{did_you_mean(name, sweeps)}")


def _split(text: str, outputs: Path) -> tuple[str, str | None]:
    """Tell the name of a sweep and the number of a trial apart; a path of a sweep may hold slashes as well."""
    name, slash, trial = text.rstrip("/").rpartition("/")
    if slash and trial.isdecimal() and not (outputs / text).is_dir():
        return name.removesuffix("/points"), trial
    return text.rstrip("/"), None


def _checked_number(sweep: SweepFolder, text: str) -> int:
    number, total = int(text), SweepPlan.of(sweep).total
    if number >= total:
        raise UsageError(f"{sweep.name} has no trial {number}; they are numbered from 0 to {total - 1}.")
    return number


# --- whole sweeps ---------------------------------------------------------------------------------------------------


def _pause(sweep: SweepFolder) -> str:
    sweep.change_control(paused="by queue pause")
    return f"{sweep.name}: no more trials are started; those that run go on to their end."


def _resume(sweep: SweepFolder) -> str:
    if len(sweep.sealed()) >= SweepPlan.of(sweep).total:
        raise UsageError(f"{sweep.name} has come to its end; there is nothing to resume.")
    sweep.change_control(paused="", cancelled=False)
    return f"{sweep.name}: open again."


def _cancel(sweep: SweepFolder) -> str:
    if len(sweep.sealed()) >= SweepPlan.of(sweep).total:
        raise UsageError(f"{sweep.name} has come to its end; there is nothing to cancel.")
    sweep.change_control(cancelled=True)
    return f"{sweep.name}: cancelled; running trials stop now.{cancel_sweep(sweep)}"


def _retry(sweep: SweepFolder) -> str:
    numbers = retry_failed(sweep)
    return f"{sweep.name}: {len(numbers)} failed trials are open again."


def retry_failed(sweep: SweepFolder) -> list[int]:
    """Open all failed trials, those that were given up and those with damaged results again, and the sweep as well.

    Returns:
        The numbers of the trials.
    """
    history = History(sweep, SweepPlan.of(sweep))
    history.refresh()
    opened = [number for number in history.failed() if sweep.reopen(number, history.sealed[number])]
    sweep.change_control(paused="", cancelled=False)
    return opened


def _set_priority(sweep: SweepFolder, text: str) -> str:
    try:
        priority = int(text)
    except ValueError:
        raise UsageError(f"queue priority: {text!r} is not an int; sweeps with a higher one go first.") from None
    sweep.change_control(priority=priority)
    return f"{sweep.name}: priority {priority}."


# --- single trials --------------------------------------------------------------------------------------------------


def _cancel_trial(sweep: SweepFolder, number: int) -> str:
    state = sweep.sealed().get(number)
    if state is None:
        sweep.ask_to_stop(number)
        lock = FolderLock(sweep.point(number))
        if not lock.take():
            return f"{sweep.name}/{number}: asked to stop."
        try:
            plan = SweepPlan.of(sweep)
            point = sweep.read_point(number) or {"setting": number // len(plan.repeats), "params": {}}
            state = sweep.seal(Trial(number, point["setting"], CANCELLED, point["params"]))
        finally:
            lock.give_back()
        if state == CANCELLED:
            return f"{sweep.name}/{number}: cancelled."
    raise UsageError(f"{sweep.name}/{number} has come to its end: {state.replace('_', ' ')}.")


def _retry_trial(sweep: SweepFolder, number: int) -> str:
    history = History(sweep, SweepPlan.of(sweep))
    history.refresh()
    state = history.states().get(number)
    if state is None:
        raise UsageError(f"{sweep.name}/{number} has not come to its end; there is nothing to retry.")
    if state in (COMPLETED, PRUNED):
        raise UsageError(f"{sweep.name}/{number} is {state}; only failed and cancelled trials can be retried.")
    if not sweep.reopen(number, history.sealed[number]):
        raise UsageError(f"{sweep.name}/{number} was retried by someone else at the same time.")
    is_open = sweep.read_control().is_open
    hint = "" if is_open else f" The sweep is not: {program_name()} queue resume {sweep.name}"
    return f"{sweep.name}/{number}: open again.{hint}"


_SWEEP_ACTIONS: dict[str, Callable[[SweepFolder], str]] = {
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "retry": _retry,
}
_TRIAL_ACTIONS: dict[str, Callable[[SweepFolder, int], str]] = {"cancel": _cancel_trial, "retry": _retry_trial}
