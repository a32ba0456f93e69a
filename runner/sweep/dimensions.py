"""One axis of a search space: a list of values, numbers with a step between them, or all numbers of a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from runner.errors import UsageError
from runner.params.kinds import number_from_text

_SHOWN = 6


@dataclass(frozen=True)
class Condition:
    """When a parameter exists: only where another one has one of these values."""

    parameter: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Dimension:
    """A parameter that varies: *values*, or the numbers from *low* to *high*.

    The ends of a range are ints where *is_int* and floats elsewhere, and both are values: what the step does not
    reach is cut off. Whole numbers have a step, 1 unless another is given; a float range without one is continuous.

    Raises:
        ValueError: there is no value, one is there twice, or the range is none.
    """

    name: str
    values: tuple[str, ...] | None = None
    """Text as the command line takes it; None for a range."""
    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = None
    log: bool = False
    """Whether factors count, not differences: as many samples between 0.01 and 0.1 as between 0.1 and 1."""
    is_int: bool = False
    condition: Condition | None = None

    def __post_init__(self) -> None:
        if self.values is not None:
            _check_values(self.values)
            if (self.low, self.high, self.step, self.log, self.is_int) != (None, None, None, False, False):
                raise ValueError("give values or a range, not both")
            return
        low, high, step = _checked_range(self)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "step", step)

    @cached_property
    def num_values(self) -> int | None:
        """How many values there are; None if the range is continuous."""
        if self.values is not None:
            return len(self.values)
        return None if self.step is None else _num_steps(*self.ends, self.step) + 1

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """The first and the last number of a range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def value(self, index: int) -> str:
        """Return one of the values as text.

        Args:
            index: From 0 to ``num_values - 1``; numbers are counted from *low*.

        Raises:
            IndexError: there is no such value.
        """
        if self.num_values is None or not 0 <= index < self.num_values:
            raise IndexError(f"{self.name} has no value {index}")
        return self.values[index] if self.values is not None else value_text(self, self._number(index))

    def index_of(self, text: str) -> int | None:
        """Return which value *text* is, None if it is none: the same text, else the same int or the same float."""
        if self.values is not None:
            return self._indices.get(text, self._indices.get(_meaning(text)))
        meaning = _meaning(text)
        if self.num_values is None or isinstance(meaning, str) or meaning[0] is not type(self.low):
            return None
        number = meaning[1]
        if not self.ends[0] <= number <= self.ends[1]:
            return None
        assert self.step is not None
        index = round((_exact(number) - _exact(self.ends[0])) / _exact(self.step))
        return index if self._number(index) == number else None

    def part(self, first: int, last: int) -> Dimension:
        """Return the values from *first* to *last* of a range of whole numbers."""
        return replace(self, low=self._number(first), high=self._number(last))

    def is_active(self, point: Mapping[str, str]) -> bool:
        """Tell whether the parameter exists where those that its condition depends on have the values in *point*."""
        return self.condition is None or point.get(self.condition.parameter) in self.condition.values

    def describe(self) -> str:
        """Return what was typed, or something that means the same; of a long list the beginning."""
        if self.values is not None:
            return ",".join([*self.values[:_SHOWN], *(["..."] if len(self.values) > _SHOWN else [])])
        low, high = (value_text(self, end) for end in self.ends)
        if self.log:
            return f"int({low},{high},log)" if self.is_int else f"log({low},{high})"
        if self.step is None:
            return f"uniform({low},{high})"
        return f"{low}..{high}" + (f":{value_text(self, self.step)}" if not self.is_int or self.step != 1 else "")

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Any) -> Dimension:
        """Return the dimension that :meth:`to_json` wrote.

        Raises:
            UsageError: it did not write this.
        """
        try:
            _check_types(body, _JSON_TYPES)
            values, condition = body["values"], body["condition"]
            if condition is not None:
                _check_types(condition, _CONDITION_TYPES)
                condition = Condition(condition["parameter"], _texts(condition["values"]))
            return cls(**{**body, "values": None if values is None else _texts(values), "condition": condition})
        except ValueError as error:
            raise UsageError(f"This is no dimension of a search space: {error}: {str(body)[:200]}") from None

    @cached_property
    def _indices(self) -> dict[Any, int]:
        """Where each text is, and where the first of each meaning is."""
        assert self.values is not None
        by_meaning: dict[Any, int] = {}
        for index, text in enumerate(self.values):
            by_meaning.setdefault(_meaning(text), index)
        return by_meaning | {text: index for index, text in enumerate(self.values)}

    def _number(self, index: int) -> float | int:
        assert self.step is not None
        return _number(self.ends[0], self.step, index)


def value_text(dimension: Dimension, number: float) -> str:
    """Return *number* of a range as text that is read as the same number, an int where the range has ints."""
    return str(int(number)) if dimension.is_int else repr(float(number))


def _check_values(values: tuple[str, ...]) -> None:
    if not values:
        raise ValueError("the list is empty; at least one value is needed")
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value} is there twice")
        seen.add(value)


def _checked_range(dimension: Dimension) -> tuple[float | int, float | int, float | int | None]:
    if dimension.low is None or dimension.high is None:
        raise ValueError("a range needs both ends")
    as_number = _whole if dimension.is_int else _float
    low, high = as_number(dimension.low), as_number(dimension.high)
    if low > high:
        raise ValueError(f"the low end {low} is larger than the high end {high}")
    if dimension.log and low <= 0:
        raise ValueError(f"a log range must begin above 0, not at {low}")
    if dimension.step is None:
        return low, high, 1 if dimension.is_int else None
    step = as_number(dimension.step)
    _check_step(low, high, step)
    if dimension.log and not (dimension.is_int and step == 1):
        raise ValueError("a log range takes no step")
    return low, _number(low, step, _num_steps(low, high, step)), step


def _check_step(low: float | int, high: float | int, step: float | int) -> None:
    if step <= 0:
        raise ValueError(f"the step must be larger than 0, not {step}")
    # Less than 4 units in the last place, and rounding could make two values one, or leave open which one a text is.
    if isinstance(step, float) and step < 4 * math.ulp(max(abs(low), abs(high))):
        raise ValueError(f"the step {step} is too small for floats from {low} to {high}")
    if low < high and not _num_steps(low, high, step):
        raise ValueError(f"the step {step} is larger than the range from {low} to {high}")


def _num_steps(low: float | int, high: float | int, step: float | int) -> int:
    count = (_exact(high) - _exact(low)) // _exact(step)
    return count + 1 if _number(low, step, count + 1) == high else count


def _number(low: float | int, step: float | int, count: int) -> float | int:
    # Floats count as the decimal numbers that they are written as, so that 0..1:0.1 has 0.3, not 0.30000000000000004.
    number = _exact(low) + count * _exact(step)
    return int(number) if isinstance(low, int) else _float_of(number)


def _float_of(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _whole(number: float | int) -> int:
    if not isinstance(number, int):
        raise ValueError(f"{number} is not a whole number")
    return number


def _float(number: float | int) -> float:
    try:
        converted = float(number)
    except OverflowError:
        raise ValueError("a number of the range is too large") from None
    if not math.isfinite(converted):
        raise ValueError(f"a range must be finite, without {converted}")
    return converted


def _exact(number: float | int) -> Fraction:
    return Fraction(number if isinstance(number, int) else repr(number))


def _meaning(text: str) -> str | tuple[type, float | int]:
    try:
        number = number_from_text(text)
    except ValueError:
        return text
    return text if math.isnan(number) else (type(number), number)


_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "values": (list, tuple, type(None)),
    "low": (int, float, type(None)),
    "high": (int, float, type(None)),
    "step": (int, float, type(None)),
    "log": (bool,),
    "is_int": (bool,),
    "condition": (dict, type(None)),
}
_CONDITION_TYPES: Mapping[str, tuple[type, ...]] = {"parameter": (str,), "values": (list, tuple)}


def _check_types(body: Any, types: Mapping[str, tuple[type, ...]]) -> None:
    if not isinstance(body, dict) or body.keys() != types.keys():
        raise ValueError(f"it must have {', '.join(types)}")
    wrong = [name for name, value in body.items() if type(value) not in types[name]]
    if wrong:
        raise ValueError(f"{wrong[0]} is a {type(body[wrong[0]]).__name__}")


def _texts(values: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("values must be text")
    return tuple(values)
