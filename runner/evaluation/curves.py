"""ROC and precision-recall curves of one class against the rest, and the areas below them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """How many items have at least each score; items of equal score count together.

    Undefined rates and areas, of a class that all items have or none, are NaN.
    """

    true_positives: Numbers
    """Items of the class with at least the score, for each different score, from the highest down; float (T,)."""
    false_positives: Numbers
    """The other items with at least the score, float (T,)."""

    @classmethod
    def of(cls, is_positive: NDArray[np.bool_], scores: Numbers) -> Ranking:
        """Rank items.

        Args:
            is_positive: Whether each item is of the class, bool (N,), N > 0.
            scores: How much speaks for the class, float (N,), finite; any increasing function of them does as well.
        """
        order = np.argsort(-scores, kind="stable")
        last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        true = np.cumsum(is_positive[order], dtype=np.float64)[last_of_ties]
        return cls(true, 1.0 + last_of_ties - true)

    @cached_property
    def roc(self) -> tuple[Numbers, Numbers]:
        """False positive rates and true positive rates, (T + 1,) each, from (0, 0) to (1, 1)."""
        false, true = (np.append(0.0, each) for each in (self.false_positives, self.true_positives))
        return _divided(false, false[-1]), _divided(true, true[-1])

    @cached_property
    def precision_recall(self) -> tuple[Numbers, Numbers]:
        """Recalls and precisions, (T + 1,) each, from recall 0, where the precision is 1 by convention, to recall 1."""
        precision = self.true_positives / (self.true_positives + self.false_positives)
        recall = _divided(self.true_positives, self.true_positives[-1])
        return np.append(0.0, recall), np.append(1.0, precision)

    @property
    def auc(self) -> float:
        """The area below the ROC curve: how often an item of the class has the higher score; ties count half."""
        false, true = self.roc
        return float(np.diff(false) @ (true[1:] + true[:-1]) / 2)

    @property
    def average_precision(self) -> float:
        """The mean of the precisions, weighted with the steps of the recall."""
        recall, precision = self.precision_recall
        return float(np.diff(recall) @ precision[1:])


def thinned(x: Numbers, y: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """Return the points between which a curve is straight; of more than *most*, some that are evenly spread along it.

    The first and the last are among them.
    """
    dx, dy = np.diff(x), np.diff(y)
    is_corner = np.abs(dx[1:] * dy[:-1] - dx[:-1] * dy[1:]) > 1e-15
    keep = np.concatenate([[True], is_corner, [True]])
    x, y = x[keep], y[keep]
    if len(x) <= most:
        return x, y
    way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    places = np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], most)))
    places[-1] = len(x) - 1
    return x[places], y[places]


def _divided(counts: Numbers, total: float) -> Numbers:
    return counts / total if total else np.full_like(counts, np.nan)
