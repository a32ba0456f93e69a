"""What chooses the settings of a sweep: a grid, random numbers, a Sobol sequence, or what learns from results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from runner.errors import UsageError, did_you_mean
from runner.sweep.dimensions import Dimension, value_text
from runner.sweep.space import SearchSpace
from runner.sweep.trials import Objective

if TYPE_CHECKING:
    from scipy.stats.qmc import Sobol


@dataclass(frozen=True)
class Setting:
    """What a sampler learns from: a point that is being tried or was tried, with all its repeats taken together."""

    number: int
    """Counted from 0."""
    params: Mapping[str, str]
    """As :meth:`Sampler.suggest` returned them."""
    state: str
    """``running``, ``completed``, ``pruned`` or ``failed``."""
    values: tuple[float, ...] | None = None
    """Of the objectives; None unless completed."""
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """The first objective after each epoch, counted from 0, where it was measured."""


class Sampler(Protocol):
    """Chooses the settings of a sweep, each a function of space, seed, number and what is known by then."""

    @property
    def is_adaptive(self) -> bool:
        """Whether settings depend on the results of others."""

    @property
    def num_points(self) -> int | None:
        """How many settings there are; None where they never end."""

    def suggest(self, number: int, history: Sequence[Setting]) -> dict[str, str]:
        """Return the parameters that exist in a setting, with their values as text.

        Args:
            number: Of the setting, counted from 0.
            history: The other settings so far in the order in which they came to an end, and those that run.
                Samplers that do not learn ignore it.

        Raises:
            IndexError: the grid has no such point.
        """


def create_sampler(name: str, space: SearchSpace, objectives: Sequence[Objective], seed: int) -> Sampler:
    """Return a sampler, with everything checked that can be known before a sweep starts.

    Args:
        name: ``grid``, ``random``, ``sobol``, ``tpe``, ``gp`` or ``cmaes``.
        space: What is drawn from.
        objectives: What samplers that learn make small or large; the others need none.
        seed: 0 or more.

    Raises:
        UsageError: the sampler is unknown, cannot work with this space or these objectives, or a package is missing.
    """
    if name not in _SAMPLERS:
        raise UsageError(
            f"No sampler is called {name}; allowed: {', '.join(_SAMPLERS)}.{did_you_mean(name, _SAMPLERS)}"
        )
    if seed < 0:
        raise UsageError(f"The seed of a sampler must be 0 or more, not {seed}.")
    return _SAMPLERS[name](space, tuple(objectives), seed)


@dataclass(frozen=True)
class GridSampler:
    """All points of the space, in the order of its dimensions."""

    space: SearchSpace
    is_adaptive = False

    @property
    def num_points(self) -> int | None:
        """How many points the grid has."""
        return self.space.num_points

    def suggest(self, number: int, history: Sequence[Setting] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return a point of the grid; see :meth:`Sampler.suggest`."""
        return self.space.point(number)


@dataclass(frozen=True)
class RandomSampler:
    """Points drawn evenly, on a log scale where a dimension asks for one; none comes twice."""

    space: SearchSpace
    seed: int
    is_adaptive = False

    @property
    def num_points(self) -> int | None:
        """How many different points there are; None for ever new ones."""
        return self.space.num_points

    def suggest(self, number: int, history: Sequence[Setting] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return a point; see :meth:`Sampler.suggest`."""
        return self._points[number]

    @cached_property
    def _points(self) -> _NewPoints:
        return _NewPoints(self.space, lambda number: random_point(self.space, (self.seed, number)))


@dataclass(frozen=True)
class SobolSampler:
    """A scrambled Sobol sequence: points that fill the space more evenly than random ones; none comes twice."""

    space: SearchSpace
    seed: int
    is_adaptive = False

    @property
    def num_points(self) -> int | None:
        """How many different points there are; None for ever new ones."""
        return self.space.num_points

    def suggest(self, number: int, history: Sequence[Setting] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return a point; see :meth:`Sampler.suggest`."""
        return self._points[number]

    @cached_property
    def _points(self) -> _NewPoints:
        return _NewPoints(self.space, self._draw)

    def _draw(self, number: int) -> dict[str, str]:
        if not self.space.dimensions:
            return {}
        self._sequence.reset()
        if number:
            self._sequence.fast_forward(number)
        return point_at(self.space, self._sequence.random(1)[0].tolist())

    @cached_property
    def _sequence(self) -> Sobol:
        from numpy.random import default_rng
        from scipy.stats.qmc import Sobol

        return Sobol(len(self.space.dimensions), seed=default_rng(self.seed))  # called rng only since scipy 1.15


MAX_DRAWS = 100
"""So many points in a row that have come before: the next one is taken from the grid."""


class _NewPoints:
    """Points as they are drawn, without those of a finite space that have come before."""

    def __init__(self, space: SearchSpace, draw: Callable[[int], dict[str, str]]) -> None:
        self._space = space
        self._draw = draw
        self._points: list[dict[str, str]] = []
        self._seen: set[tuple[tuple[str, str], ...]] = set()
        self._drawn = 0
        self._of_grid = 0

    def __getitem__(self, number: int) -> dict[str, str]:
        """Return the point with that number; as that of a finite space depends on those before, they are kept.

        Raises:
            IndexError: there are not so many.
        """
        if self._space.num_points is None:
            return self._draw(number)
        while len(self._points) <= number:
            self._points.append(self._next())
        return dict(self._points[number])

    def _next(self) -> dict[str, str]:
        for _ in range(MAX_DRAWS):
            self._drawn += 1
            point = self._draw(self._drawn - 1)
            if self._is_new(point):
                return point
        while True:  # IndexError after the last
            self._of_grid += 1
            point = self._space.point(self._of_grid - 1)
            if self._is_new(point):
                return point

    def _is_new(self, point: Mapping[str, str]) -> bool:
        key = tuple(sorted(point.items()))
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new


# --- from the unit cube to the space ----------------------------------------------------------------------------------


def random_point(space: SearchSpace, seed: Sequence[int]) -> dict[str, str]:
    """Return a point of *space* that follows from *seed*, one or more numbers from 0."""
    return point_at(space, random_units(len(space.dimensions), seed))


def random_units(count: int, seed: Sequence[int]) -> list[float]:
    """Return numbers from 0 to 1 that follow from *seed*, one or more numbers from 0."""
    from numpy.random import default_rng

    return [float(unit) for unit in default_rng(list(seed)).random(count)]


def point_at(space: SearchSpace, units: Sequence[float]) -> dict[str, str]:
    """Return the point of *space* at a point of the unit cube, without the parameters that do not exist there."""
    point: dict[str, str] = {}
    for dimension, unit in zip(space.dimensions, units, strict=True):
        if dimension.is_active(point):
            point[dimension.name] = value_at(dimension, unit)
    return point


def value_at(dimension: Dimension, unit: float) -> str:
    """Return the value at *unit* as text. Values of a list and steps have equal shares of the range from 0 to 1."""
    if dimension.num_values is not None and not dimension.log:
        return dimension.value(min(int(unit * dimension.num_values), dimension.num_values - 1))
    first, last = dimension.ends
    if unit in {0, 1}:  # to the last digit
        return value_text(dimension, first if unit == 0 else last)
    low, high = _scaled_ends(dimension)
    number = low * (1 - unit) + high * unit
    number = math.exp(number) if dimension.log else number
    return value_text(dimension, min(max(round(number) if dimension.is_int else number, first), last))


def unit_of(dimension: Dimension, text: str) -> float | None:
    """Return where :func:`value_at` has the value *text*: the middle of its share; None if it is no value."""
    if dimension.num_values is not None:
        index = dimension.index_of(text)
        if index is None or not dimension.log:
            return None if index is None else (index + 0.5) / dimension.num_values
    number = float(text)
    first, last = dimension.ends
    if not first <= number <= last or first == last:
        return 0.5 if number == first else None
    low, high = _scaled_ends(dimension)
    return ((math.log(number) if dimension.log else number) - low) / (high - low)


def _scaled_ends(dimension: Dimension) -> tuple[float, float]:
    """Return the ends of a range on its scale. A whole number stands for all that is rounded to it."""
    low, high = dimension.ends
    if not dimension.log:
        return float(low), float(high)
    margin = 0.5 if dimension.is_int else 0.0
    return math.log(low - margin), math.log(high + margin)


# --- what they are made with ------------------------------------------------------------------------------------------


def _grid(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:  # noqa: ARG001
    continuous = [each.name for each in space.dimensions if each.num_values is None]
    if continuous:
        raise UsageError(
            f"A grid needs values or a step for each parameter, and {', '.join(continuous)} has none: "
            "give 0..1:0.25 for a step, or take the sampler random."
        )
    return GridSampler(space)


def _random(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:  # noqa: ARG001
    return RandomSampler(space, seed)


def _sobol(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:  # noqa: ARG001
    return SobolSampler(space, seed)


def _tpe(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:
    from runner.sweep.optuna_samplers import TpeSampler

    return TpeSampler(space, objectives, seed)


def _gp(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:
    from runner.sweep.optuna_samplers import GpSampler

    return GpSampler(space, objectives, seed)


def _cmaes(space: SearchSpace, objectives: tuple[Objective, ...], seed: int) -> Sampler:
    from runner.sweep.optuna_samplers import CmaesSampler

    return CmaesSampler(space, objectives, seed)


_SAMPLERS: Mapping[str, Callable[[SearchSpace, tuple[Objective, ...], int], Sampler]] = {
    "grid": _grid,
    "random": _random,
    "sobol": _sobol,
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
}
