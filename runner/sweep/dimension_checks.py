"""Whether a parameter takes the values of a dimension."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import param

from runner.errors import ParameterError
from runner.param_values import Parameter, check, describe, from_text, to_text
from runner.sweep.dimensions import Dimension, value_text

MOST_CHECKED = 1000
"""Values of a range that are tried out one by one where not all numbers between two allowed ones need be allowed."""


def check_dimension(dimension: Dimension, parameter: Parameter) -> None:
    """Check every value of a list, and the ends of a range.

    Raises:
        ParameterError: *parameter* does not take a value, or two texts mean the same value.
    """
    if dimension.values is not None:
        _check_values(dimension.name, dimension.values, parameter)
    else:
        _check_range(dimension, parameter)


def _check_values(name: str, texts: Sequence[str], parameter: Parameter) -> None:
    first: dict[Any, str] = {}
    for text in texts:
        value = _checked(name, text, parameter)
        # A number may be written as int or float; elsewhere 1 and 1.0 may mean two things.
        meaning = value if isinstance(parameter, param.Number) else to_text(parameter, value)
        if first.setdefault(meaning, text) is not text:
            raise ParameterError(f"--sweep: {name}: {first[meaning]} and {text} mean the same value.")


def _check_range(dimension: Dimension, parameter: Parameter) -> None:
    if isinstance(parameter, param.Integer) and not dimension.is_int:
        raise ParameterError(
            f"--sweep: {dimension.name}={dimension.describe()}: {dimension.name} takes whole numbers; write "
            f"int({dimension.low:g},{dimension.high:g}), or int: true beside low and high in YAML."
        )
    for text in _texts_to_check(dimension, parameter):
        value = _checked(dimension.name, text, parameter)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(
                f"--sweep: {dimension.name}={dimension.describe()}: a range is for numbers, list the values instead; "
                f"allowed: {describe(parameter)}."
            )


def _texts_to_check(dimension: Dimension, parameter: Parameter) -> Iterable[str]:
    """Return the ends, and for a parameter that need not take what lies between, some of the others."""
    low, high = dimension.ends
    yield value_text(dimension, low)
    yield value_text(dimension, high)
    if isinstance(parameter, param.Number):
        return
    if dimension.num_values is None:
        yield value_text(dimension, 0.7 * low + 0.3 * high)
    else:
        yield from map(dimension.value, range(1, min(dimension.num_values - 1, MOST_CHECKED)))


def _checked(name: str, text: str, parameter: Parameter) -> Any:
    try:
        value = from_text(parameter, text)
        check(parameter, value)
    except ValueError as error:
        raise ParameterError(f"--sweep: {name}={text}: {error}.") from None
    return value
