"""Confidence intervals by the percentile bootstrap over items (Efron and Tibshirani 1993, chapter 13).

The seed is fixed: the same predictions give the same intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LEVEL = 0.95
"""Of all intervals."""
NUM_RESAMPLES = 2000
"""Of each bootstrap that is not cut short."""
FEWEST_RESAMPLES = 200
"""With fewer, the ends of an interval would mostly be chance: there is none then."""
MOST_DRAWS = 400_000_000
"""Drawn items of one bootstrap, times the classes that they are ranked for; some ten seconds."""
MOST_AT_ONCE = 2_000_000
"""Drawn items, or cells of confusion matrices, in memory."""
_Z = 1.959963984540054
"""The normal distribution's quantile of 97.5 %."""


@dataclass(frozen=True)
class Interval:
    """A measure and where it lies with a confidence of 95 %; NaN where that is not defined."""

    value: float
    low: float
    high: float
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in evaluation.json."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": LEVEL, "method": self.method}


def num_resamples(draws: int) -> int:
    """Return how many resamples there is time for, 0 if too few.

    Args:
        draws: Work for each: items, times classes that they are ranked for.
    """
    number = min(NUM_RESAMPLES, MOST_DRAWS // max(draws, 1))
    return number if number >= FEWEST_RESAMPLES else 0


def percentile_interval(value: float, resampled: Numbers) -> Interval:
    """Return the interval of a measure.

    Args:
        value: The measure over all items.
        resampled: The measure in each resample, float (R,); NaN where it is not defined, which is left out.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        why = "is not defined" if len(resampled) else "too many items and classes to resample"
        return Interval(value, np.nan, np.nan, f"none: {why}")
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(value, float(low), float(high), f"bootstrap, {len(resampled)} resamples of items")


def proportion_interval(count: int, total: int, resampled: Numbers) -> Interval:
    """Return the interval of *count* / *total*, where items count or do not.

    The bootstrap knows no other items than those it is given: where all of them count or none, its interval has no
    width. There it is Wilson's (1927).
    """
    share = count / total
    if 0 < count < total:
        return percentile_interval(share, resampled)
    centre, scale = share + _Z**2 / (2 * total), 1 + _Z**2 / total
    half = _Z * sqrt(share * (1 - share) / total + (_Z / (2 * total)) ** 2)
    low = (centre - half) / scale if count else 0.0
    high = (centre + half) / scale if count < total else 1.0
    return Interval(share, low, high, "Wilson score, as the bootstrap of equal items has no width")


def resampled_counts(num_items: int, number: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield how often each item was drawn in each resample, int (R, N), in parts that need little memory.

    Args:
        num_items: N.
        number: How many resamples; the sum of R.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    rows = max(1, MOST_AT_ONCE // num_items)
    for first in range(0, number, rows):
        here = min(rows, number - first)
        drawn = random.integers(num_items, size=(here, num_items), dtype=np.int64)
        drawn += np.arange(here)[:, None] * num_items
        yield np.bincount(drawn.reshape(-1), minlength=here * num_items).reshape(here, num_items)
