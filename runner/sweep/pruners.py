"""When a trial is stopped because others are better: the median rule, ASHA and Hyperband, decided by Optuna.

Optuna's pruners keep what they know in the attributes of running trials. Here each decision is computed anew from the
metrics of all trials after each epoch, so that it does not matter which process asks, or which was killed meanwhile.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError, did_you_mean
from runner.sweep.optuna_samplers import quiet_optuna, require_packages, study_direction
from runner.sweep.trials import COMPLETED, Trial

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

AUTO = "auto"
"""Instead of a number of epochs: told from the trials that are completed, without pruning until there is one."""


@dataclass(frozen=True)
class _Option:
    default: int | str
    lowest: int
    takes_auto: bool = False


_MEDIAN = {
    "n_startup_trials": _Option(5, 0),
    "n_warmup_steps": _Option(0, 0),
    "interval_steps": _Option(1, 1),
    "n_min_trials": _Option(1, 1),
}
_ASHA = {
    "min_resource": _Option(AUTO, 1, takes_auto=True),
    "reduction_factor": _Option(4, 2),
    "min_early_stopping_rate": _Option(0, 0),
    "bootstrap_count": _Option(0, 0),
}
_HYPERBAND = {
    "min_resource": _Option(1, 1),
    "max_resource": _Option(AUTO, 1, takes_auto=True),
    "reduction_factor": _Option(3, 2),
    "bootstrap_count": _Option(0, 0),
}
_PRUNERS = {"median": _MEDIAN, "asha": _ASHA, "hyperband": _HYPERBAND}


@dataclass(frozen=True)
class PrunerSpec:
    """A pruner with the options that were given; the others are Optuna's defaults."""

    name: str
    """``median``, ``asha`` or ``hyperband``."""
    options: Mapping[str, int | str] = field(default_factory=dict)
    """As Optuna names them: whole numbers, or :data:`AUTO`. Resources and steps are epochs."""

    def option(self, name: str) -> int | str:
        """Return the value of an option, or its default."""
        return self.options.get(name, _PRUNERS[self.name][name].default)

    def number(self, name: str) -> int:
        """Return the value of an option that is a number."""
        return int(self.option(name))

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {"name": self.name, "options": dict(self.options)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> PrunerSpec:
        """Return the pruner that :meth:`to_json` wrote.

        Raises:
            UsageError: it did not write this.
        """
        options = {str(name): str(value) for name, value in body["options"].items()}
        return cls(body["name"], _checked_options(body["name"], options))


def pruner_spec(name: str, options: Mapping[str, str]) -> PrunerSpec:
    """Return a pruner as a user asked for it.

    Args:
        name: ``median``, ``asha`` or ``hyperband``.
        options: Optuna's names with their values as text.

            - median: ``n_startup_trials``, ``n_warmup_steps``, ``interval_steps``, ``n_min_trials``. The first
              ``n_warmup_steps`` epochs prune nothing.
            - asha: ``min_resource``, ``reduction_factor``, ``min_early_stopping_rate``, ``bootstrap_count``. With
              ``min_resource`` 1 and factor 4, trials are compared after 1, 4, 16, ... epochs.
            - hyperband: ``min_resource``, ``max_resource``, ``reduction_factor``, ``bootstrap_count``.

    Raises:
        UsageError: a name is unknown, a value is not allowed, two do not go together, or Optuna is missing.
    """
    spec = PrunerSpec(name, _checked_options(name, options))
    require_packages(f"The pruner {name}", "optuna")
    return spec


def _checked_options(name: str, options: Mapping[str, str]) -> dict[str, int | str]:
    if name not in _PRUNERS:
        raise UsageError(f"No pruner is called {name}; allowed: {', '.join(_PRUNERS)}.{did_you_mean(name, _PRUNERS)}")
    known = _PRUNERS[name]
    for option in options:
        if option not in known:
            allowed = ", ".join(known)
            raise UsageError(
                f"The pruner {name} has no option {option}; allowed: {allowed}.{did_you_mean(option, known)}"
            )
    checked = {option: _value(name, option, known[option], text) for option, text in options.items()}
    _check_together(PrunerSpec(name, checked))
    return checked


def _value(pruner: str, name: str, option: _Option, text: str) -> int | str:
    if option.takes_auto and text == AUTO:
        return AUTO
    try:
        value = int(text)
    except ValueError:
        value = option.lowest - 1
    if value < option.lowest:
        allowed = f"a whole number from {option.lowest}{' or auto' if option.takes_auto else ''}"
        raise UsageError(f"The pruner {pruner} takes as {name} {allowed}, not {text}.")
    return value


def _check_together(spec: PrunerSpec) -> None:
    resource = {"asha": "min_resource", "hyperband": "max_resource"}.get(spec.name)
    if resource and spec.number("bootstrap_count") > 0 and spec.option(resource) == AUTO:
        raise UsageError(f"The pruner {spec.name} needs a number as {resource} for a bootstrap_count above 0.")
    if spec.name == "hyperband" and spec.option("max_resource") != AUTO:
        lowest, highest = spec.number("min_resource"), spec.number("max_resource")
        if lowest > highest:
            raise UsageError(f"The pruner hyperband has a min_resource {lowest} above the max_resource {highest}.")


# --- decisions --------------------------------------------------------------------------------------------------------


def should_prune(  # noqa: PLR0917
    spec: PrunerSpec, direction: str, number: int, own: Mapping[int, float], others: Sequence[Trial], seed: int
) -> bool:
    """Tell whether a trial should stop after its newest epoch.

    Epochs are counted from 0, as Optuna counts the steps of the median rule. What ASHA and Hyperband call resource
    is the number of finished epochs, which is one more.

    A newest value of NaN counts as worse than all others; as long as the pruner does not look at the trial (before
    its first rung, in the warm-up, without enough other trials) it does not stop it.

    Args:
        spec: The pruner.
        direction: ``minimize`` or ``maximize``.
        number: Of the trial; Hyperband chooses the bracket by it.
        own: The trial's values of the first objective after each epoch.
        others: The other trials: the median rule looks at completed ones, the others at all that reached a rung.
        seed: Of the sweep; Hyperband chooses the bracket by it.
    """
    if not own:
        return False
    if spec.name == "median":
        return _median_prunes(spec, direction, own, others)
    if spec.name == "asha":
        return _asha_prunes(spec, spec.number("min_early_stopping_rate"), direction, own, others)
    brackets = _brackets(spec, others)
    if not brackets:
        return False
    bracket = _bracket_of(brackets, number, seed)
    rivals = [trial for trial in others if _bracket_of(brackets, trial.number, seed) == bracket]
    return _asha_prunes(spec, bracket, direction, own, rivals)


def _median_prunes(spec: PrunerSpec, direction: str, own: Mapping[int, float], others: Sequence[Trial]) -> bool:
    from optuna.pruners import MedianPruner

    newest = max(own)
    if math.isnan(own[newest]):  # for Optuna, what was measured before would make up for it
        own = dict.fromkeys(own, math.nan)
    completed = [
        _completed({newest: trial.intermediate[newest]} if newest in trial.intermediate else {})
        for trial in others
        if trial.state == COMPLETED
    ]
    pruner = MedianPruner(**{name: spec.number(name) for name in _MEDIAN})
    return _asked(pruner, direction, _running(own), completed)


def _asha_prunes(
    spec: PrunerSpec, rate: int, direction: str, own: Mapping[int, float], others: Sequence[Trial]
) -> bool:
    from optuna.pruners import SuccessiveHalvingPruner

    smallest = _smallest_resource(spec, others)
    if smallest is None:
        return False
    factor = spec.number("reduction_factor")
    pruner = SuccessiveHalvingPruner(
        min_resource=smallest,
        reduction_factor=factor,
        min_early_stopping_rate=rate,
        bootstrap_count=spec.number("bootstrap_count"),
    )
    first = smallest * factor**rate
    newest = max(own)
    before = {epoch: value for epoch, value in own.items() if epoch != newest}
    trial = _running({newest + 1: own[newest]}, _rungs(before, first, factor))
    rivals = [_running({}, rungs) for rungs in (_rungs(each.intermediate, first, factor) for each in others) if rungs]
    return _asked(pruner, direction, trial, rivals)


def _smallest_resource(spec: PrunerSpec, others: Iterable[Trial]) -> int | None:
    if spec.option("min_resource") != AUTO:
        return spec.number("min_resource")
    epochs = _longest(others)
    return None if epochs is None else max(epochs // 100, 1)  # Optuna's rule


def _longest(others: Iterable[Trial]) -> int | None:
    """Return how many epochs the longest of the completed trials took, None if there is none."""
    return max(
        (max(each.intermediate) + 1 for each in others if each.state == COMPLETED and each.intermediate), default=None
    )


def _rungs(values: Mapping[int, float], first: int, factor: int) -> dict[str, float]:
    """Return the values with which a trial reached each rung, under the names by which Optuna finds them."""
    rungs: dict[str, float] = {}
    needed = first
    for epoch, value in sorted(values.items()):
        while epoch + 1 >= needed and not math.isnan(value):
            rungs[f"completed_rung_{len(rungs)}"] = value
            needed *= factor
    return rungs


def _brackets(spec: PrunerSpec, others: Iterable[Trial]) -> list[int]:
    """Return the weight of each of Hyperband's brackets, which are ASHA with a later first rung each."""
    highest = _longest(others) if spec.option("max_resource") == AUTO else spec.number("max_resource")
    if highest is None:
        return []
    factor = spec.number("reduction_factor")
    count = math.floor(math.log(highest / spec.number("min_resource"), factor)) + 1
    return [math.ceil(count * factor**power / (power + 1)) for power in reversed(range(count))]


def _bracket_of(brackets: Sequence[int], number: int, seed: int) -> int:
    """Return the bracket of a trial, as Optuna does in a study whose name is the seed."""
    place = zlib.crc32(f"{seed}_{number}".encode()) % sum(brackets)
    ends = accumulate(brackets)
    return next(bracket for bracket, end in enumerate(ends) if place < end)


def _asked(pruner: BasePruner, direction: str, trial: FrozenTrial, others: Sequence[FrozenTrial]) -> bool:
    import optuna

    with quiet_optuna():
        study = optuna.create_study(direction=study_direction(direction))
        study.add_trials([*others, trial])
        return pruner.prune(study, study.get_trials(deepcopy=False)[-1])


def _running(intermediate: Mapping[int, float], rungs: Mapping[str, float] | None = None) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    values = dict(intermediate)
    return create_trial(state=TrialState.RUNNING, intermediate_values=values, system_attrs=dict(rungs or {}))


def _completed(intermediate: Mapping[int, float]) -> FrozenTrial:
    from optuna.trial import create_trial

    return create_trial(value=0.0, intermediate_values=dict(intermediate))
