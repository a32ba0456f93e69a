"""Search spaces: which settings a sweep may try. The points of a grid are numbered and computed when asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runner.command_line import OPTIONS
from runner.container_values import unknown_name
from runner.errors import ParameterError, UsageError, did_you_mean
from runner.param_values import settable_parameters
from runner.sweep.dimension_checks import check_dimension
from runner.sweep.dimensions import Condition, Dimension, value_text

if TYPE_CHECKING:
    from runner.container import LightningContainer

__all__ = ["Condition", "Dimension", "SearchSpace", "SpaceError", "check_space", "value_text"]

MOST_COMPARED = 100_000
"""Values that are compared one by one where two ranges do not have the same steps."""


class SpaceError(ValueError):
    """Dimensions do not go together; ``parameter`` is the name of the one at fault. The message is a sentence."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter} {message}")
        self.parameter = parameter


@dataclass(frozen=True)
class SearchSpace:
    """The dimensions of a sweep, each after the one that its condition depends on.

    The points of a grid are in the order of the dimensions, the last one fastest; what depends on a condition is
    varied right after the parameter it depends on, and only where it exists, so that no point comes twice.

    Raises:
        SpaceError: a name is there twice, or a condition is about an unknown parameter, about a value that it does
            not have, or in the end about itself.
    """

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(_parents_first(self.dimensions)))

    @cached_property
    def num_points(self) -> int | None:
        """How many points the grid has; None where a dimension is continuous, 1 without dimensions."""
        sizes = [self._trees[each.name].size for each in self._children[None]]
        return None if any(each.num_values is None for each in self.dimensions) else math.prod(sizes)

    def point(self, index: int) -> dict[str, str]:
        """Return a point of the grid: the parameters that exist there, with their values as text.

        Args:
            index: From 0 to ``num_points - 1``.

        Raises:
            IndexError: there is no such point.
        """
        if self.num_points is None or not 0 <= index < self.num_points:
            raise IndexError(f"the grid has no point {index}")
        values: dict[str, str] = {}
        tasks = [(self._children[None], index)]
        while tasks:
            dimensions, index = tasks.pop()
            for each in reversed(dimensions):
                tree = self._trees[each.name]
                index, inner = divmod(index, tree.size)
                position, inner = tree.locate(inner)
                values[each.name] = each.value(position)
                tasks.append(([child for child in self._children[each.name] if child.is_active(values)], inner))
        return {each.name: values[each.name] for each in self.dimensions if each.name in values}

    def difference(self, *old: SearchSpace) -> list[SearchSpace]:
        """Return grids without a common point that hold what this grid has and the disjoint *old* ones lack.

        Raises:
            UsageError: an old grid has what this one has not, or they differ in more than values; the differences are
                named. Spaces with conditions or continuous dimensions must be the same.
        """
        found = [text for each in old for text in _differences(each, self)]
        if found:
            raise UsageError(f"Values can only be added to a grid: {'; '.join(dict.fromkeys(found))}.")
        boxes = [] if self in old else [self]
        for each in old:
            boxes = [part for box in boxes for part in _without(box, each)]
        return boxes

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {"dimensions": [each.to_json() for each in self.dimensions]}

    @classmethod
    def from_json(cls, body: Any) -> SearchSpace:
        """Return the space that :meth:`to_json` wrote.

        Raises:
            UsageError: it did not write this.
        """
        if not isinstance(body, dict) or list(body) != ["dimensions"] or not isinstance(body["dimensions"], list):
            raise UsageError(f"This is no search space: {str(body)[:200]}")
        try:
            return cls(tuple(map(Dimension.from_json, body["dimensions"])))
        except SpaceError as error:
            raise UsageError(f"This is no search space: {error}") from None

    @cached_property
    def _children(self) -> dict[str | None, list[Dimension]]:
        """The dimensions that depend on each one, under None those that depend on none."""
        children: dict[str | None, list[Dimension]] = {None: [], **{each.name: [] for each in self.dimensions}}
        for each in self.dimensions:
            children[each.condition.parameter if each.condition else None].append(each)
        return children

    @cached_property
    def _trees(self) -> dict[str, _Tree]:
        trees: dict[str, _Tree] = {}
        for each in reversed(self.dimensions):
            blocks: dict[int, int] = {}
            for child in self._children[each.name]:
                for index in _indices(child, each):
                    blocks[index] = blocks.get(index, 1) * trees[child.name].size
            trees[each.name] = _Tree(each.num_values or 0, sorted(blocks.items()))
        return trees


@dataclass(frozen=True)
class _Tree:
    """A dimension with all that depends on it. Each value has one point, but those in *blocks* have more."""

    num_values: int
    blocks: Sequence[tuple[int, int]]

    @cached_property
    def size(self) -> int:
        return self.num_values + sum(size - 1 for _, size in self.blocks)

    def locate(self, index: int) -> tuple[int, int]:
        """Return the value at a point, and which point of that value's it is."""
        for value, size in self.blocks:
            if index < value:
                break
            if index < value + size:
                return value, index - value
            index -= size - 1
        return index, 0


def _parents_first(dimensions: Sequence[Dimension]) -> Iterable[Dimension]:
    by_name: dict[str, Dimension] = {}
    for each in dimensions:
        if by_name.setdefault(each.name, each) is not each:
            raise SpaceError(each.name, "is there twice.")
    done: dict[str, Dimension] = {}
    for each in dimensions:
        chain: dict[str, Dimension] = {}
        waiting: Dimension | None = each
        while waiting is not None and waiting.name not in done:
            if waiting.name in chain:
                raise SpaceError(waiting.name, f"depends in a circle on {', '.join(chain)}.")
            chain[waiting.name] = waiting
            waiting = _parent(waiting, by_name)
        for name in reversed(chain):
            done[name] = _as_parent_writes(chain[name], done)
    return done.values()


def _parent(dimension: Dimension, by_name: Mapping[str, Dimension]) -> Dimension | None:
    if dimension.condition is None:
        return None
    name = dimension.condition.parameter
    if name not in by_name:
        known = did_you_mean(name, by_name)
        raise SpaceError(dimension.name, f"depends on {name}, which does not vary in the sweep.{known}")
    return by_name[name]


def _as_parent_writes(dimension: Dimension, by_name: Mapping[str, Dimension]) -> Dimension:
    """Return the dimension with the values of its condition as the parameter that it depends on writes them."""
    condition = dimension.condition
    if condition is None:
        return dimension
    parent = by_name[condition.parameter]
    values = tuple(dict.fromkeys(parent.value(index) for index in _indices(dimension, parent)))
    return dimension if values == condition.values else replace(dimension, condition=replace(condition, values=values))


def _indices(dimension: Dimension, parent: Dimension) -> list[int]:
    """Return at which values of *parent* a dimension exists that depends on it."""
    assert dimension.condition is not None
    if not dimension.condition.values:
        raise SpaceError(dimension.name, f"depends on {parent.name}, but on no value of it.")
    if parent.num_values is None:
        raise SpaceError(dimension.name, f"depends on {parent.name}, which has no steps: {parent.describe()}.")
    indices = []
    for value in dimension.condition.values:
        index = parent.index_of(value)
        if index is None:
            place, hint = f"depends on {parent.name} being {value}", did_you_mean(value, parent.values or ())
            raise SpaceError(dimension.name, f"{place}; allowed: {parent.describe()}.{hint}")
        indices.append(index)
    return indices


# --- what was added ---------------------------------------------------------------------------------------------------


def _differences(old: SearchSpace, new: SearchSpace) -> list[str]:
    """Return what *old* has and *new* has not, a few words each."""
    before = {each.name: each for each in old.dimensions}
    after = {each.name: each for each in new.dimensions}
    found = [f"{name} varied before" for name in before if name not in after]
    found += [f"{name} did not vary before" for name in after if name not in before]
    for name, dimension in before.items():
        found += _changes(dimension, after[name]) if name in after else []
    is_plain = all(each.condition is None for each in (*old.dimensions, *new.dimensions))
    if not found and old != new and not (is_plain and new.num_points is not None):
        found.append("to a space with conditions or without steps, no values can be added")
    return found


def _changes(old: Dimension, new: Dimension) -> list[str]:
    if old.condition != new.condition:
        return [f"{old.name} existed under another condition before"]
    if old.num_values is None or new.num_values is None:
        return [] if old == new else [f"{old.name} was {old.describe()}, now {new.describe()}"]
    removed, _ = _split(old, new)
    return [f"{old.name} had {', '.join(each.describe() for each in removed)} before"] if removed else []


def _without(box: SearchSpace, old: SearchSpace) -> list[SearchSpace]:
    """Return disjoint boxes that hold the points of *box* that are not in *old*."""
    before = {each.name: each for each in old.dimensions}
    rest: list[SearchSpace] = []
    common: list[Dimension] = []
    for place, each in enumerate(box.dimensions):
        outside, inside = _split(each, before[each.name])
        rest += [SearchSpace((*common, part, *box.dimensions[place + 1 :])) for part in outside]
        if inside is None:
            break
        common.append(inside)
    return rest


def _split(one: Dimension, other: Dimension) -> tuple[list[Dimension], Dimension | None]:
    """Return the values of *one* that *other* lacks, and those that it has; all of them have lists or steps."""
    assert one.num_values is not None
    assert other.num_values is not None
    if one == other:
        return [], one
    if one.is_int and other.is_int and one.step == other.step and (offset := _steps_between(one, other)) is not None:
        return _split_range(one, offset, offset + other.num_values - 1)
    if max(one.num_values, other.num_values) > MOST_COMPARED:
        raise UsageError(f"{one.name}: {one.describe()} and {other.describe()} have too many values to compare.")
    texts = [one.value(index) for index in range(one.num_values)]
    outside = tuple(text for text in texts if other.index_of(text) is None)
    inside = tuple(text for text in texts if other.index_of(text) is not None)
    parts = [Dimension(one.name, values=each, condition=one.condition) for each in (outside, inside) if each]
    return parts[: bool(outside)], parts[-1] if inside else None


def _steps_between(one: Dimension, other: Dimension) -> int | None:
    """Return at which step of *one* the first value of *other* lies, perhaps before or behind it; None if between."""
    assert one.step is not None
    steps, rest = divmod(other.ends[0] - one.ends[0], one.step)
    return None if rest else int(steps)


def _split_range(one: Dimension, first: int, last: int) -> tuple[list[Dimension], Dimension | None]:
    assert one.num_values is not None
    end = one.num_values - 1
    first, last = max(first, 0), min(last, end)
    if first > last:
        return [one], None
    outside = [one.part(0, first - 1)] if first > 0 else []
    outside += [one.part(last + 1, end)] if last < end else []
    return outside, one.part(first, last)


# --- what the container takes -----------------------------------------------------------------------------------------


def check_space(space: SearchSpace, container: LightningContainer) -> None:
    """Check every value of every dimension, and the ends of ranges, against the container's parameters.

    Raises:
        ParameterError: a parameter is unknown, does not take a value, or two texts mean the same value.
    """
    cls = type(container)
    parameters = settable_parameters(cls)
    for dimension in space.dimensions:
        name = dimension.name
        if name in OPTIONS:
            raise ParameterError(
                f"--sweep: {name} is an option of the program; only parameters of {cls.__name__} vary."
            )
        if name not in parameters:
            raise ParameterError(f"--sweep: {unknown_name(cls, name).replace('--', '')}")
        check_dimension(dimension, parameters[name])
