"""``--sweep``, ``--enqueue``, ``work``: make a sweep or join one, work on it, say what came out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from runner.atomic_files import write_json, write_text
from runner.command_line import Request, program_name
from runner.errors import EXIT_DONE, EXIT_FAILED, UsageError
from runner.log_setup import console_logging
from runner.number_text import counted
from runner.places import find_place
from runner.preparation import Plan
from runner.run_record import shown
from runner.shown import format_ranges, printable
from runner.sweep.history import History
from runner.sweep.joining import extension, outputs_folder, sweep_to_work_on
from runner.sweep.live import counts, display
from runner.sweep.plan import SweepPlan
from runner.sweep.point import join, work_on
from runner.sweep.queue_state import Queue, SweepState
from runner.sweep.request import Wanted, single_run, wanted_sweep, whole_number
from runner.sweep.supervisor import Limits, Supervisor
from runner.sweep.sweep_file import seconds_from_text
from runner.sweep.sweep_folder import SweepFolder, sweeps_in
from runner.sweep.tables import SweepView, result_table, sweep_csv, sweep_json
from runner.sweep.workers import Slot, make_slots

log = logging.getLogger(__name__)

SHOWN_POINTS = 20
"""Points that ``--dry_run`` prints."""


def sweep(request: Request, base: Plan, on_folder: Callable[[Path], None] = lambda folder: None) -> int:
    """Do what a command line with ``--sweep``, ``--enqueue`` or ``--resume=<sweep folder>`` asks for.

    Args:
        request: The command line.
        base: Container, configuration files and fixed values.
        on_folder: Called with the sweep's folder as soon as it exists.

    Returns:
        The exit code: 0 if all trials completed, 1 if some failed or were not done.

    Raises:
        UsageError: something is wrong and nothing was started.
        RunInterrupted: a signal stopped it.
    """
    with console_logging(request.log_level, quiet=request.quiet):
        wanted = wanted_of(request, base)
        slots, limits = slots_of(request), limits_of(request, wanted)
        if wanted is not None and request.dry_run:
            print(_extension_text(request, wanted.plan) if request.extend else dry_run_text(wanted.plan))
            return EXIT_DONE
        folder = sweep_to_work_on(request, wanted, base)
        on_folder(folder.path)
        if request.enqueue:
            print(f"{folder.name} is in the queue; {program_name()} work runs it.")
            return EXIT_DONE
        return _work_on(Queue(lambda: [folder]), slots, limits, request)


def work(request: Request) -> int:
    """Run all that lies in the queue.

    Raises:
        RunInterrupted: a signal stopped it.
    """
    outputs, slots, limits = outputs_folder(request), slots_of(request), limits_of(request, None)
    with console_logging(request.log_level, quiet=request.quiet):
        if not sweeps_in(outputs):
            print("The queue is empty.")
            return EXIT_DONE
        return _work_on(Queue(lambda: sweeps_in(outputs)), slots, limits, request)


def trial(folder: str, number: str) -> int:
    """Run one trial in this process, which is there for nothing else.

    Raises:
        UsageError: there is no such sweep, or the number is none.
    """
    sweep_folder, index = SweepFolder.open(Path(folder)), whole_number("trial", number, least=0)
    if find_place().joined is not None:
        return join(sweep_folder, index)
    return work_on(sweep_folder, index)


def wanted_of(request: Request, base: Plan) -> Wanted | None:
    """Return the sweep that the command line describes; None if it only names one.

    Raises:
        UsageError: something about it is wrong.
    """
    if request.sweep:
        return wanted_sweep(request, base)
    return None if request.resume is not None else Wanted(single_run(base), None, None)


def dry_run_text(plan: SweepPlan) -> str:
    """Return the first points of a sweep, one a line."""
    title = f"{counted(plan.total, 'trial')} of {plan.container_name}: {counted(plan.num_settings, 'setting')}"
    return "\n".join([title, *_points(plan, 0)])


def _extension_text(request: Request, plan: SweepPlan) -> str:
    """Return the first points that ``--extend`` would add."""
    folder, there, extended = extension(request, plan)
    new = extended.total - there.total
    title = f"{folder.name} has {counted(there.total, 'trial')} and would get {new or 'no'} more"
    return "\n".join([title, *(_points(extended, there.total) if new else [])])


def _points(plan: SweepPlan, first: int) -> list[str]:
    if plan.is_adaptive:
        return [f"{plan.sampler} chooses each point when it is started, from the results until then."]
    lines = [
        f"{number:6d}  " + " ".join(f"{name}={printable(text, 60)}" for name, text in plan.params(number).items())
        for number in islice(range(first, plan.total), SHOWN_POINTS)
    ]
    more = plan.total - first - SHOWN_POINTS
    return [*lines, f"   ...  {more} more"] if more > 0 else lines


# --- working --------------------------------------------------------------------------------------------------------


def _work_on(queue: Queue, slots: Sequence[Slot], limits: Limits, request: Request) -> int:
    try:
        if queue.has_more():
            with display(quiet=request.quiet) as screen:
                Supervisor(queue, slots, limits, screen).run()
    finally:
        states = queue.states()
        states = states if len(states) == 1 else [state for state in states if state.has_worked]
        written = [_write_results_of(state) for state in states]
        _say_how_to_go_on(states)
        for path, reason in queue.unreadable.items():
            log.warning("%s cannot be served: %s", path, reason)
    if len(states) == 1:
        print(result_table(view_of(states[0])))
    if not states and not queue.unreadable:
        print("There is nothing to do: all sweeps are done, paused or cancelled.")
    for state in states:
        if state.folder.report.is_file():
            print(shown(state.folder.report))
    is_done = all(written) and all(map(_is_done, states)) and not (queue.unreadable and not states)
    return EXIT_DONE if is_done else EXIT_FAILED


def _write_results_of(state: SweepState) -> bool:
    """Write tables and report if there is something new to tell; return whether that was possible."""
    try:
        state.refresh(at_once=True)
        is_changed = state.has_worked or state.folder.has_plan(2)  # which may rank them anew
        if state.history.sealed and (is_changed or not state.folder.report.is_file()):
            write_results(state)
    except OSError as error:
        log.warning("%s: cannot write its tables and report: %s", state.folder.name, error.strerror or error)
        return False
    return True


def slots_of(request: Request) -> list[Slot]:
    """Return the shares of this machine that trials are to have.

    Raises:
        UsageError: a number is none.
    """
    devices = whole_number("devices_per_trial", request.devices_per_trial or "1", least=1)
    return make_slots(whole_number("workers", request.workers, least=1) if request.workers else None, devices)


def limits_of(request: Request, wanted: Wanted | None) -> Limits:
    """Return the limits of this supervisor; those in the file of a sweep count unless the command line has others.

    Raises:
        UsageError: one of them cannot be read.
    """
    max_failures = whole_number("max_failures", request.max_failures, least=1) if request.max_failures else None
    time = _seconds("sweep_time", request.sweep_time)
    return Limits(
        trial_timeout=_seconds("trial_timeout", request.trial_timeout),
        stall_timeout=_seconds("stall_timeout", request.stall_timeout),
        time=time if time is not None or wanted is None else wanted.time,
        max_failures=max_failures if max_failures is not None or wanted is None else wanted.max_failures,
        fail_fast=request.fail_fast,
    )


def _seconds(name: str, text: str | None) -> float | None:
    try:
        return None if text is None else seconds_from_text(text)
    except ValueError as error:
        raise UsageError(f"--{name}: {error}.") from None


def _is_done(state: SweepState) -> bool:
    """Tell whether all trials completed, were pruned or cancelled."""
    is_whole = len(state.history.sealed) >= state.plan.total
    return (is_whole or state.control.cancelled) and not state.history.failed()


def _say_how_to_go_on(states: Sequence[SweepState]) -> None:
    for state in states:
        if state.history.other_code():
            log.warning("%s: %s", state.folder.name, _other_code(state))
        failed = len(state.history.failed())
        command = f"{program_name()} --resume={shown(state.folder.path)}"
        if state.control.paused:
            log.warning("%s is paused: %s. Open it again: %s queue resume %s", state.folder.name, state.control.paused,
                        program_name(), state.folder.name)  # fmt: skip
        elif len(state.history.sealed) < state.plan.total and not state.control.cancelled:
            log.warning("%s: %s. Go on with: %s", state.folder.name, counts(state), command)
        elif failed:
            log.warning("failed trials: %d. Run them again: %s --retry_failed", failed, command)


def write_results(state: SweepState) -> None:
    """Write sweep.csv, sweep.json and report.html of a sweep."""
    from runner.sweep.report import sweep_report

    view = view_of(state)
    write_text(state.folder.table, sweep_csv(view))
    write_json(state.folder.summary, sweep_json(view))
    write_text(state.folder.report, sweep_report(view))


def view_of(state: SweepState) -> SweepView:
    """Return what tables and the report show."""
    history: History = state.history
    return SweepView(
        name=state.folder.name,
        container=state.plan.container_name,
        trials=history.trials(),
        objectives=state.plan.objectives,
        num_trials=state.plan.total,
        notes=_notes(state),
        varied=state.plan.varied,
        log_scaled={each.name for each in state.plan.spaces[0].dimensions if each.log},
    )


def _notes(state: SweepState) -> list[str]:
    notes = [f"Sampler {state.plan.sampler}, seed {state.plan.seed}."]
    if state.control.paused:
        notes.append(f"Paused: {state.control.paused}.")
    if state.history.other_code():
        notes.append(_other_code(state))
    return notes


def _other_code(state: SweepState) -> str:
    return f"Other code than the sweep was made with was run by trial {format_ranges(state.history.other_code())}."
