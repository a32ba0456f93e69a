"""Which sweep a command line means: a new one, or one that is there already, perhaps with something added."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from runner.command_line import Request, program_name
from runner.errors import RunnerError, UsageError, did_you_mean
from runner.number_text import counted
from runner.preparation import Plan
from runner.run_record import shown
from runner.sweep.history import History, states_of
from runner.sweep.plan import SweepPlan, differences
from runner.sweep.queue_commands import retry_failed
from runner.sweep.request import Wanted
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_file import SweepSpec, with_options
from runner.sweep.sweep_folder import Control, SweepFolder, sweeps_in

log = logging.getLogger(__name__)

_MADE_WITH = ("sweep_sampler", "sweep_pruner", "sweep_seed", "different_seeds")
"""Options that say what a sweep is, for good."""


def outputs_folder(request: Request) -> Path:
    """Return the folder below which sweeps lie."""
    return Path(request.output_to or "outputs").expanduser().absolute()


def sweep_to_work_on(request: Request, wanted: Wanted | None, base: Plan) -> SweepFolder:
    """Return the folder of the sweep that is meant, made or extended where that was asked for.

    Args:
        request: The command line.
        wanted: The sweep that it describes; None if it only names one.
        base: What else it says.

    Raises:
        UsageError: there is no such sweep, or it is another one than described.
    """
    if request.resume is not None:
        folder = _sweep_folder(request.resume)
        plan = _named(folder, request, base) if wanted is None else wanted.plan
        found: SweepFolder | None = _same_or_extended(folder, plan, request)
    else:
        assert wanted is not None
        plan, found = wanted.plan, _joined(request, wanted.plan)
    if found is None:
        found = SweepFolder.create(outputs_folder(request), plan.container_name, plan.to_json(), Control())
        log.info("%s  %s", shown(found.path), counted(plan.total, "trial"))
    if request.retry_failed:
        log.info("failed trials that are run again: %d", len(retry_failed(found)))
    return found


def _sweep_folder(path: str) -> SweepFolder:
    if not Path(path).is_dir():
        raise UsageError(f"--resume={path}: there is no such folder.")
    return SweepFolder.open(Path(path))


def _named(folder: SweepFolder, request: Request, base: Plan) -> SweepPlan:
    """Return the plan of a sweep with what the command line changes of it.

    Raises:
        UsageError: it would become another sweep.
    """
    there = SweepPlan.of(folder)
    refused = [f"--{name}" for name in _MADE_WITH if getattr(request, name) is not None]
    refused += [f"--{override.flag}" for override in base.overrides] + (["--config"] if request.config else [])
    if request.model not in (None, there.model, there.container_name):
        refused.append(f"--model={request.model}")
    if refused:
        raise UsageError(
            f"--resume goes on with {folder.name} as it was made, without {', '.join(refused)}. To add "
            "to it, give its whole command with --sweep and --extend."
        )
    options = {name: getattr(request, name) for name in ("sweep_num_trials", "sweep_metric", "sweep_direction")}
    if not any(options.values()):
        return there
    spec = SweepSpec(
        space=there.spaces[0], sampler=there.sampler, num_trials=there.num_trials, objectives=there.objectives
    )
    spec = with_options(spec, options)
    return replace(there, num_trials=spec.num_trials, objectives=spec.objectives)


def extension(request: Request, plan: SweepPlan) -> tuple[SweepFolder, SweepPlan, SweepPlan]:
    """Return the sweep that ``--extend`` would add to, its plan as it is, and as it would be; nothing is written.

    Raises:
        UsageError: there is no such sweep, or it is another one than described.
    """
    folder = _sweep_folder(request.resume) if request.resume is not None else _newest_alike(request, plan)
    there = SweepPlan.of(folder)
    added = _added(folder, there, plan, request)
    return folder, there, replace(there, spaces=(*there.spaces, *added), num_trials=plan.num_trials)


def _joined(request: Request, plan: SweepPlan) -> SweepFolder | None:
    """Return the newest sweep that was made or extended by the same command; None if a new one is to be made.

    Raises:
        UsageError: ``--extend`` was given and there is nothing to add to.
    """
    if request.new or not request.sweep:  # a single run may be queued as often as one likes
        return None
    for folder in _newest_first(request):
        if any(_is_same(stage, plan) for stage in _stages(folder)):
            return _found(folder, _ranked_by(folder, plan), request)
    return _same_or_extended(_newest_alike(request, plan), plan, request) if request.extend else None


def _newest_first(request: Request) -> list[SweepFolder]:
    return sorted(sweeps_in(outputs_folder(request)), key=lambda each: each.sequence, reverse=True)


def _newest_alike(request: Request, plan: SweepPlan) -> SweepFolder:
    for folder in _newest_first(request):
        if any(stage.container_name == plan.container_name for stage in _stages(folder)):
            return folder
    raise UsageError(f"--extend: there is no sweep of {plan.container_name} to add to.")


def _stages(folder: SweepFolder) -> list[SweepPlan]:
    try:
        return SweepPlan.each_of(folder)
    except (RunnerError, OSError):  # damaged, or of another version: not the one that is meant
        return []


def _is_same(there: SweepPlan, plan: SweepPlan) -> bool:
    """Tell whether both mean the same trials."""
    if differences(there, plan):
        return False
    return there.num_trials == plan.num_trials and _lacks(there, plan.spaces[0]) == 0


def _lacks(there: SweepPlan, space: SearchSpace) -> int:
    """Return how many points a grid lacks, or -1 if it is no part of *space*."""
    try:
        return sum(each.num_points or 0 for each in space.difference(*there.spaces))
    except UsageError:
        return -1


def _ranked_by(folder: SweepFolder, plan: SweepPlan) -> SweepPlan:
    """Let the results be ranked by the objectives of *plan* from now on; nothing is run for that."""
    there = SweepPlan.of(folder)
    if there.objectives == plan.objectives:
        return there
    changed = replace(there, objectives=plan.objectives)
    _refuse_unmeasured(folder, changed)
    folder.add_plan(changed.addition(), len(folder.read_plans()) + 1)
    by = ", ".join(each.metric for each in plan.objectives) or "no metric"
    log.info("%s: its results are ranked by %s from now on", folder.name, by)
    return changed


def _refuse_unmeasured(folder: SweepFolder, plan: SweepPlan) -> None:
    """Refuse to rank results by what none of them has; before there are any, nobody knows."""
    history = History(folder, plan)
    history.refresh()
    known = {name for trial in history.results() for name in trial.metrics}
    for objective in plan.objectives if known else ():
        if objective.metric not in known:
            raise UsageError(
                f"No trial of {folder.name} has measured {objective.metric}.{did_you_mean(objective.metric, known)} "
                f"There are: {', '.join(sorted(known))}."
            )


def _added(folder: SweepFolder, there: SweepPlan, plan: SweepPlan, request: Request) -> list[SearchSpace]:
    """Return the points of *plan* that the sweep lacks.

    Raises:
        UsageError: it differs in other ways than that *plan* has more.
    """
    found = differences(there, plan)
    if found:
        cure = "Leave --resume out" if request.resume is not None else "Leave --extend out"
        raise UsageError(f"{folder.name} is another sweep: {'; '.join(found)}. {cure} for a new one.")
    added = plan.spaces[0].difference(*there.spaces) if plan.spaces != there.spaces else []
    if not added and plan.num_trials != there.num_trials and not _is_more(there, plan):
        raise UsageError(f"{folder.name} has {there.num_trials} settings; there is no way to take some away.")
    return added


def _is_more(there: SweepPlan, plan: SweepPlan) -> bool:
    return plan.num_trials is not None and there.num_trials is not None and plan.num_trials > there.num_trials


def _same_or_extended(folder: SweepFolder, plan: SweepPlan, request: Request) -> SweepFolder:
    """Return the sweep, after adding what it lacks if ``--extend`` was given.

    Raises:
        UsageError: it differs in other ways, or ``--extend`` was not given.
    """
    there = SweepPlan.of(folder)
    added = _added(folder, there, plan, request)
    if not added and not _is_more(there, plan):
        return _found(folder, _ranked_by(folder, plan), request)
    if not request.extend:
        what = f"{sum(each.num_points or 0 for each in added)} points" if added else f"{plan.num_trials} settings"
        raise UsageError(f"{folder.name} would get more to do ({what}): add --extend, or --new for another sweep.")
    _refuse_cancelled(folder, request)
    changed = replace(there, num_trials=plan.num_trials, objectives=plan.objectives)
    folder.add_plan(changed.addition(added), len(folder.read_plans()) + 1)
    log.info("%s: extended to %d trials", folder.name, SweepPlan.of(folder).total)
    return folder


def _found(folder: SweepFolder, plan: SweepPlan, request: Request) -> SweepFolder:
    """Say what there is of a sweep to go on with, and return it."""
    _refuse_cancelled(folder, request)
    found = Counter(states_of(folder).values())
    done = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(found.items())) or "none"
    log.info("going on with %s: %s of %s", folder.name, done, counted(plan.total, "trial"))
    return folder


def _refuse_cancelled(folder: SweepFolder, request: Request) -> None:
    if folder.read_control().cancelled and not request.retry_failed:
        raise UsageError(
            f"{folder.name} was cancelled. Open it again: {program_name()} queue resume {folder.name}; or start "
            "another with --new."
        )
