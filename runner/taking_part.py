"""What the processes of a run other than the first do: their part of each phase that all share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from runner.errors import RunFailedError
from runner.folder_lock import is_locked
from runner.log_setup import RunContext, log_to_file
from runner.places import Place
from runner.preparation import Plan, Prepared
from runner.process_state import run_environment
from runner.run_folder import RunFolder
from runner.run_setup import find_resume_checkpoint, set_up
from runner.stop_signals import StopSignals

if TYPE_CHECKING:
    from runner.rank_signs import RankSign
    from runner.run_state import Run

LOOK_SECONDS = 0.5
"""How often a process looks which phase the first one is in."""


def take_part(plan: Plan, prepared: Prepared, place: Place, context: RunContext) -> RunFolder:
    """Take part in a run that the first process leads, and return its folder.

    A process that was started for one phase, as Lightning's children are, does its part of that; one that torchrun,
    Slurm or the user started follows the first process through all phases.

    Raises:
        RunFailedError: this process could not do what was asked, or the first one could not.
        RunInterrupted: a signal stopped it.
    """
    from runner.ranks import as_other_rank
    from runner.rendezvous import Rendezvous
    from runner.trainer import processes_per_machine

    folder = RunFolder(place.joined or Rendezvous(place, prepared.num_nodes, shared_values(prepared)).receive())
    context.rank = rank = place.rank_among(processes_per_machine(prepared.container))
    stop = StopSignals()
    make_run = partial(set_up, prepared, folder, stop)
    with log_to_file(folder.log, context), stop.installed(), run_environment(folder.path):
        with as_other_rank(folder, rank) as sign:
            stop.interruptible(_go_through_phases, make_run, plan, place.phase, context, sign)
        if place.joined is None:
            sign.remove()
            _end_as_the_first(folder)
    return folder


def shared_values(prepared: Prepared) -> dict[str, str]:
    """Return what must be the same in all processes that take part in a run."""
    from runner.trainer import processes_per_machine

    processes = str(processes_per_machine(prepared.container))
    return prepared.plain_values | {"processes of each machine": processes}


def _go_through_phases(
    make_run: Callable[[], Run], plan: Plan, only: str | None, context: RunContext, sign: RankSign
) -> None:
    from runner.phases import SHARED_PHASES

    context.phase = "setup"
    run = make_run()
    run.should_prune = plan.trial.should_prune if plan.trial is not None else None
    folder = run.folder
    is_going_on = folder.read_status().get("attempts", 1) > 1
    for name in _phases_of_first(folder) if only is None else [only]:
        if name not in SHARED_PHASES:
            continue
        context.phase = name
        if name == "train" and is_going_on:
            run.resume_checkpoint = find_resume_checkpoint(run)
        SHARED_PHASES[name](run)
        sign.say(phase=name, state="done")


def _phases_of_first(folder: RunFolder) -> Iterator[str]:
    """Yield each phase as the first process enters it, until that process ends."""
    last = None
    while is_locked(folder.path):
        status = folder.read_status()
        if status.get("state") != "running":
            return
        if status["phase"] != last:
            last = status["phase"]
            yield last
        time.sleep(LOOK_SECONDS)


def _end_as_the_first(folder: RunFolder) -> None:
    status = folder.read_status()
    if status.get("state") != "completed":
        raise RunFailedError(f"The first process did not complete the run: {status.get('exit_reason')}.")
