"""Samplers that learn from results: TPE and Gaussian processes by Optuna, CMA-ES by the package that Optuna uses.

They keep nothing between two settings. Each is computed anew from the history, with a random generator of its own that
follows from seed and number: Optuna's samplers repeat their points when they are started again with the same seed, and
a state that is kept would have to be stored.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.sweep.dimensions import Dimension, value_text
from runner.sweep.samplers import Setting, point_at, random_point, random_units, unit_of
from runner.sweep.space import SearchSpace
from runner.sweep.trials import COMPLETED, PRUNED, RUNNING, Objective

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, Trial

ATTEMPTS = 4
"""How often a sampler may propose a point that is already there before a random one is taken."""
RANDOM_ATTEMPTS = 64
"""How many random ones are tried before a point is taken twice."""


def require_packages(what: str, *names: str) -> None:
    """Check that optional packages are there.

    Raises:
        UsageError: one is missing; the message says how it is installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs the package {' and '.join(missing)}: pip install 'lightcase[optuna]'")


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's log and its warnings about experimental parts from the console."""
    from optuna import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def study_direction(direction: str) -> StudyDirection:
    """Return Optuna's name for ``minimize`` or ``maximize``."""
    from optuna.study import StudyDirection

    return StudyDirection[direction.upper()]


class LearningSampler(ABC):
    """What samplers that learn have in common: no point is tried twice as long as others are left.

    Raises:
        UsageError: nothing says what to optimise, or a package is missing.
    """

    is_adaptive = True
    num_points = None
    name: str
    packages: tuple[str, ...]

    def __init__(self, space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> None:
        if not objectives:
            raise UsageError(f"The sampler {self.name} learns from results: say with --sweep_metric what to optimise.")
        require_packages(f"The sampler {self.name}", *self.packages)
        self.space = space
        self.objectives = objectives
        self.seed = seed

    def suggest(self, number: int, history: Sequence[Setting]) -> dict[str, str]:
        """Return a point; see :meth:`runner.sweep.samplers.Sampler.suggest`."""
        ended = [each for each in history if each.state != RUNNING and each.number != number]
        running = [each for each in history if each.state == RUNNING and each.number != number]
        known = [*ended, *sorted(running, key=lambda each: each.number)]
        taken = {_key(each.params) for each in known}
        if self.space.num_points is not None and len(taken) >= self.space.num_points:
            return self._propose((self.seed, number), known)
        points = self._proposals(number, known)
        first = next(points)
        return next((point for point in chain([first], points) if _key(point) not in taken), first)

    def _proposals(self, number: int, history: Sequence[Setting]) -> Iterator[dict[str, str]]:
        yield self._propose((self.seed, number), history)
        for attempt in range(1, ATTEMPTS):
            yield self._propose((self.seed, number, attempt), history)
        for attempt in range(ATTEMPTS, ATTEMPTS + RANDOM_ATTEMPTS):
            yield random_point(self.space, (self.seed, number, attempt))

    @abstractmethod
    def _propose(self, seed: tuple[int, ...], history: Sequence[Setting]) -> dict[str, str]:
        """Return a point that follows from *seed* and *history*, in which those that run come last."""


def _key(point: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(point.items())


# --- Optuna -----------------------------------------------------------------------------------------------------------


class OptunaSampler(LearningSampler):
    """Asks one of Optuna's samplers, with a study in memory that has the history as its trials."""

    packages: tuple[str, ...] = ("optuna",)

    def _propose(self, seed: tuple[int, ...], history: Sequence[Setting]) -> dict[str, str]:
        import optuna

        with quiet_optuna():
            directions = [study_direction(each.direction) for each in self.objectives]
            study = optuna.create_study(directions=directions, sampler=self._sampler(seed_number(seed)))
            study.add_trials(_frozen_trials(self.space, history, len(self.objectives)))
            trial = study.ask()
            point: dict[str, str] = {}
            for dimension in self.space.dimensions:
                if dimension.is_active(point):
                    point[dimension.name] = _suggested(trial, dimension)
        return point

    @abstractmethod
    def _sampler(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""


class TpeSampler(OptunaSampler):
    """Tree-structured Parzen estimator: cheap, takes every space and several objectives. The first 10 are random."""

    name = "tpe"

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        is_conditional = any(each.condition for each in self.space.dimensions)
        group = is_conditional and len(self.objectives) == 1  # what exists under one condition is drawn together
        return TPESampler(seed=seed, constant_liar=True, group=group)


class GpSampler(OptunaSampler):
    """Gaussian process: fewer trials, more time for each point.

    The first 10, and parameters with a condition, are random; pruned settings do not count.
    """

    name = "gp"

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)


def seed_number(seed: Sequence[int]) -> int:
    """Return 32 bits that follow from *seed*, for generators that take no more."""
    from numpy.random import SeedSequence

    return int(SeedSequence(list(seed)).generate_state(1)[0])


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return what Optuna draws a parameter from: the index of a value where steps or a list give the values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values is not None:
        return CategoricalDistribution(range(len(dimension.values)))
    low, high = dimension.ends
    if dimension.num_values is None:
        return FloatDistribution(low, high, log=dimension.log)
    if dimension.log:
        return IntDistribution(int(low), int(high), log=True)
    return IntDistribution(0, dimension.num_values - 1)


def _suggested(trial: Trial, dimension: Dimension) -> str:
    name = dimension.name
    drawn: Any = distribution(dimension)
    if dimension.values is not None:
        return dimension.value(trial.suggest_categorical(name, drawn.choices))
    if dimension.num_values is None:
        return value_text(dimension, trial.suggest_float(name, drawn.low, drawn.high, log=drawn.log))
    number = trial.suggest_int(name, drawn.low, drawn.high, log=drawn.log)
    return value_text(dimension, number) if dimension.log else dimension.value(number)


def _frozen_trials(space: SearchSpace, history: Sequence[Setting], num_objectives: int) -> list[FrozenTrial]:
    """Return the history as Optuna's trials, without settings that have a value from outside the space."""
    from optuna.trial import create_trial

    dimensions = {each.name: each for each in space.dimensions}
    distributions = {name: distribution(each) for name, each in dimensions.items()}
    trials = []
    for setting in history:
        drawn = {
            name: _drawn(each, setting.params[name]) for name, each in dimensions.items() if name in setting.params
        }
        if None not in drawn.values():
            of_these = {name: distributions[name] for name in drawn}
            trials.append(create_trial(params=drawn, distributions=of_these, **_outcome(setting, num_objectives)))
    return trials


def _drawn(dimension: Dimension, text: str) -> float | int | None:
    """Return what :func:`_suggested` gave *text* for."""
    if dimension.num_values is not None and not dimension.log:
        return dimension.index_of(text)
    if unit_of(dimension, text) is None:
        return None
    return int(text) if dimension.is_int else float(text)


def _outcome(setting: Setting, num_objectives: int) -> dict[str, Any]:
    from optuna.trial import TrialState

    if setting.state == RUNNING:
        return {"state": TrialState.RUNNING}
    if setting.state == COMPLETED and _are_finite(setting.values):
        return {"state": TrialState.COMPLETE, "values": setting.values}
    if setting.state == PRUNED and num_objectives == 1:  # Optuna has no pruning with several
        return {"state": TrialState.PRUNED, "intermediate_values": dict(sorted(setting.intermediate.items())[-1:])}
    return {"state": TrialState.FAIL}


def _are_finite(values: Sequence[float] | None) -> bool:
    return values is not None and all(map(math.isfinite, values))


# --- CMA-ES -----------------------------------------------------------------------------------------------------------


class CmaesSampler(LearningSampler):
    """CMA-ES, for numbers that always exist; all else is random.

    Optuna's own sampler keeps its state, pickled, in the attributes of its trials. Here the state follows from the
    history: settings make up generations in the order in which they came to an end. Those that were chosen before
    the last generation was known count like the others, so that parallel workers waste none. Pruned settings rank
    behind completed ones, failed ones do not count.

    Raises:
        UsageError: there are several objectives, or no such numbers.
    """

    name = "cmaes"
    packages = ("cmaes",)

    def __init__(self, space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> None:
        super().__init__(space, objectives, seed)
        if len(objectives) > 1:
            raise UsageError("The sampler cmaes takes one objective, not several; tpe and gp take them.")
        self.numbers = [each for each in space.dimensions if _is_number(each)]
        if not self.numbers:
            raise UsageError(
                "The sampler cmaes needs a range of numbers that exists without a condition, and there is none; "
                "take the sampler tpe."
            )

    def optimizer(self, history: Sequence[Setting]) -> Any:
        """Return CMA-ES over the unit cube of the numbers, with all whole generations of *history* told to it."""
        import numpy as np
        from cmaes import CMA

        size = len(self.numbers)
        cube = np.tile([0.0, 1.0], (size, 1))
        optimizer = CMA(mean=np.full(size, 0.5), sigma=1 / 6, bounds=cube, seed=0, n_max_resampling=10 * size)
        told = [each for each in (self._told(setting) for setting in history) if each is not None]
        for start in range(0, len(told) - optimizer.population_size + 1, optimizer.population_size):
            generation = sorted(told[start : start + optimizer.population_size], key=lambda each: each[1])
            optimizer.tell([(np.array(units), float(rank)) for rank, (units, _) in enumerate(generation)])
        return optimizer

    def _propose(self, seed: tuple[int, ...], history: Sequence[Setting]) -> dict[str, str]:
        optimizer = self.optimizer(history)
        optimizer.reseed_rng(seed_number(seed))
        asked = dict(zip(self.numbers, optimizer.ask().tolist(), strict=True))
        dimensions = self.space.dimensions
        units = zip(dimensions, random_units(len(dimensions), seed), strict=True)
        return point_at(self.space, [asked.get(dimension, unit) for dimension, unit in units])

    def _told(self, setting: Setting) -> tuple[list[float], tuple[float, ...]] | None:
        """Return where in the cube a setting lies and what sorts the best first; None if it does not count."""
        rank = self._rank(setting)
        places = [unit_of(each, setting.params[each.name]) for each in self.numbers if each.name in setting.params]
        units = [place for place in places if place is not None]
        return (units, rank) if rank is not None and len(units) == len(self.numbers) else None

    def _rank(self, setting: Setting) -> tuple[float, ...] | None:
        sign = self.objectives[0].sign
        if setting.state == COMPLETED and setting.values is not None and math.isfinite(setting.values[0]):
            return 0, sign * setting.values[0]
        if setting.state != PRUNED:
            return None
        epoch, value = max(setting.intermediate.items(), default=(-1, 0.0))
        return 1, -epoch, math.inf if math.isnan(value) else sign * value


def _is_number(dimension: Dimension) -> bool:
    return dimension.values is None and dimension.condition is None and dimension.num_values != 1
