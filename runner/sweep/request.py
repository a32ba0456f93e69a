"""From a command line to the plan of a sweep, with everything checked before anything is made."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from runner.command_line import Override, Request
from runner.container import LightningContainer
from runner.errors import ParameterError, UsageError
from runner.param_values import settable_parameters, to_text
from runner.preparation import Plan, Prepared, prepare, prepare_container
from runner.sweep.code_digest import code_digest, code_files
from runner.sweep.plan import SweepPlan
from runner.sweep.pruners import pruner_spec
from runner.sweep.space import SearchSpace, check_space
from runner.sweep.sweep_file import SweepSpec, read_sweep_file, spec_from_mapping, with_axes, with_options

log = logging.getLogger(__name__)

_OPTIONS = (
    "sweep_sampler",
    "sweep_num_trials",
    "sweep_metric",
    "sweep_direction",
    "sweep_pruner",
    "sweep_seed",
    "sweep_time",
    "max_failures",
)

CHECKED_POINTS = 20
"""Points, spread over the sweep, whose values are tried out together on the container before anything starts."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    plan: SweepPlan
    time: float | None
    """Seconds for the whole sweep."""
    max_failures: int | None


def wanted_sweep(request: Request, base: Plan) -> Wanted:
    """Return the sweep that the command line asks for.

    Args:
        request: The command line.
        base: Container, configuration files and fixed values, as for a single run.

    Raises:
        UsageError: something is wrong; the message says what, where, and what is allowed.
        UserCodeError: the container's own code raised.
    """
    spec = _spec_of_files(request)
    base = replace(base, overrides=_overrides(base.overrides, spec))
    prepared = prepare(base)
    if spec is None or "" in request.sweep:
        spec = _spec_of_container(prepared.container, spec, request)
    check_space(spec.space, prepared.container)
    spec = with_options(spec, {name: getattr(request, name) for name in _OPTIONS})
    fixed = _fixed_values(prepared)
    _refuse_fixed_and_varied(spec.space, base.overrides)
    plan = SweepPlan(
        model=prepared.model,
        container_name=prepared.name,
        containers=str(base.containers.absolute()),
        namespace=base.namespace,
        code=code_digest(type(prepared.container)),
        fixed=fixed,
        spaces=(spec.space,),
        sampler=spec.sampler,
        seed=spec.seed,
        num_trials=spec.num_trials,
        repeats=_repeats(prepared.container, spec, request),
        objectives=spec.objectives,
        pruner=pruner_spec(*spec.pruner) if spec.pruner else None,
    )
    _check_number(plan)
    _check_points(plan, type(prepared.container))
    return Wanted(plan, spec.time, spec.max_failures)


def single_run(base: Plan) -> SweepPlan:
    """Return a plan with a single trial in which nothing varies: a run for the queue.

    Raises:
        UsageError: something about the run is wrong.
    """
    prepared = prepare(base)
    return SweepPlan(
        model=prepared.model,
        container_name=prepared.name,
        containers=str(base.containers.absolute()),
        namespace=base.namespace,
        code=code_digest(type(prepared.container)),
        fixed=_fixed_values(prepared),
        spaces=(SearchSpace(()),),
        sampler="grid",
        seed=0,
        num_trials=None,
        repeats=({},),
        objectives=(),
        pruner=None,
    )


def _spec_of_files(request: Request) -> SweepSpec | None:
    """Return what the files and axes behind ``--sweep`` say; None if there are none."""
    files = [text for text in request.sweep if text and not _is_axis(text)]
    if len(files) > 1:
        raise UsageError(f"--sweep: give one file, not {len(files)}: {', '.join(files)}.")
    axes = dict(_axis(text) for text in request.sweep if _is_axis(text))
    if len(axes) < sum(map(_is_axis, request.sweep)):
        raise UsageError("--sweep: a parameter is given twice.")
    if not files and not axes:
        return None
    spec = read_sweep_file(files[0], Path("configs")) if files else None
    return with_axes(spec, axes)


def _is_axis(text: str) -> bool:
    return text.partition("=")[0].strip().replace("-", "_").isidentifier() and "=" in text


def _axis(text: str) -> tuple[str, str]:
    name, _, values = text.partition("=")
    return name.strip().replace("-", "_"), values


def _spec_of_container(container: LightningContainer, spec: SweepSpec | None, request: Request) -> SweepSpec:
    """Return the container's own search space, or none where folds or seeds are all that varies."""
    space = container.get_parameter_search_space()
    is_repeated = request.different_seeds is not None or container.number_of_cross_validation_splits > 1
    if not space and spec is None and not is_repeated:
        raise UsageError(
            f"--sweep: what is to vary? Give --sweep NAME=VALUES or --sweep=FILE, or let {type(container).__name__} "
            "define get_parameter_search_space()."
        )
    own = spec_from_mapping(space, place=f"{type(container).__name__}.get_parameter_search_space()")
    return own if spec is None else with_axes(own, {}, over=spec)


def whole_number(name: str, text: str, *, least: int) -> int:
    """Read a whole number of the command line.

    Raises:
        UsageError: it is none, or below *least*.
    """
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise UsageError(f"--{name}={text}: use an int >= {least}.")
    return value


def _overrides(overrides: Sequence[Override], spec: SweepSpec | None) -> list[Override]:
    """Return the fixed values: those of the file first, so that the command line's win."""
    given = {override.name for override in overrides}
    of_file = dict(spec.overrides) if spec is not None else {}
    return [*(Override(name, text, name) for name, text in of_file.items() if name not in given), *overrides]


def _fixed_values(prepared: Prepared) -> dict[str, str]:
    """Return every value that somebody set, as text, so that files which change later change nothing."""
    container, fixed = prepared.container, {}
    parameters = settable_parameters(type(container))
    for name in prepared.values.origins:
        if name in parameters and not prepared.values.is_set_by_code(name):
            fixed[name] = to_text(parameters[name], getattr(container, name))
    return fixed


def _refuse_fixed_and_varied(space: SearchSpace, overrides: Sequence[Override]) -> None:
    varied = {dimension.name for dimension in space.dimensions}
    for override in overrides:
        if override.name in varied:
            raise UsageError(f"--{override.flag} is fixed, and --sweep varies it: leave one of them out.")


def _repeats(container: LightningContainer, spec: SweepSpec, request: Request) -> tuple[Mapping[str, str], ...]:
    """Return the seeds and folds that each setting is run with."""
    varied = {dimension.name for dimension in spec.space.dimensions}
    seeds = spec.repeats
    if request.different_seeds is not None:
        seeds = whole_number("different_seeds", request.different_seeds, least=2)
    folds = container.number_of_cross_validation_splits
    if container.is_cross_validation_fold or "cross_validation_split_index" in varied:
        folds = 0
    if seeds > 1 and "random_seed" in varied:
        raise UsageError("--different_seeds: random_seed varies already.")
    step = max(1, folds)  # fold n of a run trains with random_seed + n
    if folds and not _mentions_folds(container):
        log.warning(
            "cross validation: nothing in the code of %s mentions cross_validation_split_index, so that each fold may "
            "train on the same data",
            type(container).__name__,
        )
    by_seed = [{"random_seed": str((container.random_seed + step * each) % 2**32)} for each in range(seeds)]
    by_fold = [{"cross_validation_split_index": str(each)} for each in range(folds)]
    return tuple(one | other for one, other in product(by_seed if seeds > 1 else [{}], by_fold or [{}]))


def _mentions_folds(container: LightningContainer) -> bool:
    """Tell whether the container's code may choose its data by the fold: by its index, or by the seed it has."""
    words = (b"cross_validation_split_index", b"is_cross_validation_fold", b"effective_random_seed")
    return any(word in path.read_bytes() for path in code_files(type(container)) for word in words)


def _check_number(plan: SweepPlan) -> None:
    """Refuse a sweep in which nothing varies, and more settings than points where each is tried only once."""
    if not plan.varied:
        raise UsageError("--sweep: nothing varies: there are no parameters in the file, no seeds and no folds.")
    there = plan.sampler_object.num_points
    if there is not None and plan.num_settings > there:
        raise UsageError(
            f"--sweep_num_trials={plan.num_settings}: there are only {there} points to choose from; give no more, or "
            "take --sweep_sampler=grid, which tries all."
        )


def _check_points(plan: SweepPlan, container: type[LightningContainer]) -> None:
    """Try values out together on the container: each may be allowed alone and contradict another.

    Raises:
        ParameterError: they contradict each other.
    """
    if plan.is_adaptive or not plan.total:
        return
    last = plan.total - 1 if plan.sampler == "grid" else min(plan.total - 1, CHECKED_POINTS)
    for number in sorted({each * last // CHECKED_POINTS for each in range(CHECKED_POINTS + 1)}):
        params = plan.params(number)
        try:
            prepare_container(replace(plan.run_plan(params), model=container))  # found already
        except ParameterError as error:
            shown = " ".join(f"{name}={value}" for name, value in params.items())
            raise ParameterError(f"--sweep, point {number} ({shown}): {error}") from error
