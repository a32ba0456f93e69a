"""Axes of the pictures: how far along one, from 0 to 1, a number or a text lies, and what stands beside it."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.shown import format_exact, format_number, number_of, printable

MAX_TEXTS = 30
"""More texts than that share one place called "others"."""

MOST_EXACT = 6
"""More numbers are not all written beside the axis of a parameter."""

NOT_SET = "not set"
"""Where trials lie for which a conditional parameter does not exist."""

_LARGEST = 1e300
_SLOT = 0.12
_LONG = 14
_NOTHING: Mapping[str | None, float] = {}


@dataclass(frozen=True)
class Scale:
    """The part of an axis that is for numbers."""

    low: float
    high: float
    is_log: bool = False
    """In use where all numbers are positive, and span more than two decades or come from a logarithmic range."""

    @classmethod
    def of(cls, numbers: Iterable[float], *, is_log: bool = False) -> Scale:
        """Return the scale from the least to the largest of at least one finite number."""
        clipped = [max(-_LARGEST, min(number, _LARGEST)) for number in numbers]
        low, high = min(clipped), max(clipped)
        return cls(low, high, is_log=low > 0 and (is_log or math.log10(high) - math.log10(low) > 2))

    def fraction(self, number: float) -> float:
        """Return how far *number* lies along the scale; in the middle where there is one number only."""
        low, high, number = (math.log10(each) if self.is_log else each for each in (self.low, self.high, number))
        if self._is_point():
            return 0.5
        return min(max((number - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places of round numbers with the numbers; at least one."""
        if self._is_point():
            return [(0.5, _exactly(self.low))]
        return [(self.fraction(number), format_exact(number)) for number in self.round_numbers()]

    def _is_point(self) -> bool:
        return self.high - self.low <= max(1e-12 * max(abs(self.low), abs(self.high)), 1e-300)

    def round_numbers(self) -> list[float]:
        """Return a few round numbers on the scale; the one that there is where it has no length."""
        if self._is_point():
            return [self.low]
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last - first >= 2:
                return [float(f"1e{exponent}") for exponent in range(first, last + 1, max(1, -(-(last - first) // 5)))]
            some = [float(f"{digit}e{exponent}") for exponent in range(first - 1, last + 1) for digit in (1, 2, 5)]
            some = [number for number in some if self.low * (1 - 1e-9) <= number <= self.high * (1 + 1e-9)]
            if len(some) > 1:
                return some
        rough = (self.high - self.low) / 4
        decade = 10.0 ** math.floor(math.log10(rough))
        step = decade * min((1, 2, 5, 10), key=lambda each: abs(math.log(each * decade / rough)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{count * step:.12g}") for count in range(first, last + 1)]


@dataclass(frozen=True)
class Axis:
    """One axis: places for texts, or a scale for numbers with a few places for texts below it."""

    name: str
    scale: Scale | None = None
    places: Mapping[str | None, float] = field(default_factory=lambda: _NOTHING)
    """Of texts; of None for "not set"."""
    labels: tuple[tuple[float, str], ...] = ()
    """Of the places."""
    start: float = 0.0
    """Where the scale begins."""
    exact: tuple[float, ...] = ()
    """The ticks, where they are not round numbers."""

    @property
    def slot(self) -> float:
        """How much room each text has."""
        return _SLOT if self.scale else 1 / max(len(self.labels), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and what to write there, from the start of the axis to its end."""
        if self.scale is None:
            return list(self.labels)
        numbers = [(self.scale.fraction(each), _exactly(each)) for each in self.exact] or self.scale.ticks()
        return [*self.labels, *((self._lifted(place), text) for place, text in numbers)]

    def place(self, value: str | float | None) -> float:
        """Return where a value lies that the axis was made for."""
        if isinstance(value, str | None) and value in self.places:
            return self.places[value]
        number = number_of(value) if isinstance(value, str) else value
        if self.scale is None or number is None:
            raise ValueError(f"{self.name} has no place for {value!r}")
        return self._lifted(self.scale.fraction(number))

    def _lifted(self, place: float) -> float:
        return self.start + (1 - self.start) * place


def number_axis(
    name: str,
    numbers: Iterable[float],
    texts: Sequence[str | None] = (),
    *,
    is_exact: bool = False,
    is_log: bool = False,
) -> Axis:
    """Return an axis for finite numbers.

    Args:
        name: What is written beside it.
        numbers: What it must have room for; at least one.
        texts: What has a place below the numbers; None is called "not set".
        is_exact: Whether the ticks are the numbers themselves, not round ones.
        is_log: Whether they are from a logarithmic range.
    """
    numbers = sorted(set(numbers))
    places = {text: (index + 0.5) * _SLOT for index, text in enumerate(texts)}
    labels = tuple((place, _label(text)) for text, place in places.items())
    start = len(texts) * _SLOT + 0.04 if texts else 0.0
    return Axis(name, Scale.of(numbers, is_log=is_log), places, labels, start, tuple(numbers) if is_exact else ())


def count_axis(name: str, numbers: Iterable[float]) -> Axis:
    """Return an axis for what is counted, such as epochs: it is never logarithmic, and its ticks are whole numbers.

    Args:
        name: What is written beside it.
        numbers: What it must have room for; at least one.
    """
    numbers = list(map(float, numbers))
    scale = Scale(min(numbers), max(numbers))
    return Axis(name, scale, exact=tuple(each for each in scale.round_numbers() if each.is_integer()))


def parameter_axis(name: str, values: Sequence[str | None], *, is_log: bool = False) -> Axis:
    """Return the axis of a parameter: a scale where its values are numbers, else a place for each of its texts.

    Args:
        name: The parameter.
        values: Its value in each trial; None where it does not exist.
        is_log: Whether its numbers are from a logarithmic range.
    """
    texts = sorted({value for value in values if value is not None and number_of(value) is None})
    numbers = {number for value in values if (number := number_of(value)) is not None}
    missing: list[str | None] = [None] if None in values else []
    if len(numbers) > 1 and len(texts) <= 2:
        return number_axis(name, numbers, [*missing, *texts], is_exact=len(numbers) <= MOST_EXACT, is_log=is_log)
    return _text_axis(name, values, missing)


def _text_axis(name: str, values: Sequence[str | None], missing: list[str | None]) -> Axis:
    frequent = [value for value, _ in Counter(value for value in values if value is not None).most_common()]
    kept = frequent if len(frequent) <= MAX_TEXTS else frequent[: MAX_TEXTS - 1]
    others = frequent[len(kept) :]
    kept.sort(key=lambda value: (number_of(value) is None, number_of(value) or 0.0, value))
    labels = [*map(_label, missing), *_told_apart([_label(value) for value in kept])]
    labels += [f"{len(others)} others"] if others else []
    centres = [(index + 0.5) / len(labels) for index in range(len(labels))]
    places = dict(zip((*missing, *kept), centres, strict=False)) | dict.fromkeys(others, centres[-1])
    return Axis(name, None, places, tuple(zip(centres, labels, strict=True)))


def _label(text: str | None) -> str:
    return NOT_SET if text is None else printable(text, 60) or '""'


def _exactly(number: float) -> str:
    return format_exact(number) if number.is_integer() else format_number(number)


def _told_apart(labels: list[str]) -> list[str]:
    """Return long labels without the words that all begin or end with: ``…resnet18``."""
    if len(labels) < 2 or max(map(len, labels)) <= _LONG:
        return labels
    start = _common_words(labels)
    end = _common_words([label[len(start) :][::-1] for label in labels])
    return [f"{start and '…'}{label[len(start) : len(label) - len(end)]}{end and '…'}" for label in labels]


def _common_words(labels: list[str]) -> str:
    return re.sub(r"[^\W_]*$", "", os.path.commonprefix(labels))  # noqa: RUF071 - characters are what is compared
