"""How good a classifier is: confusion matrix, measures of each class, calibration, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.evaluation.bootstrap import (
    MOST_AT_ONCE,
    NUM_RESAMPLES,
    Interval,
    num_resamples,
    percentile_interval,
    proportion_interval,
    resampled_counts,
)
from runner.evaluation.curves import Ranking, thinned

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

NUM_BINS = 15
"""Of the calibration, as in Guo et al. 2017."""
MOST_POINTS = 200
"""Of one curve."""
_MOST_POINTS_OF_ALL = 20_000
_FEWEST_POINTS = 20


def evaluate_classes(labels: Counts, probabilities: Numbers, names: Sequence[str]) -> dict[str, Any]:
    """Return all that evaluation.json says about a classifier.

    Args:
        labels: The true class of each item, int (N,), N > 0, each from 0 to K - 1.
        probabilities: Float (N, K), K > 1; rows sum to 1. The prediction is the largest, the first of equal ones.
        names: Of the K classes.
    """
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), len(names))
    most = max(_FEWEST_POINTS, min(MOST_POINTS, _MOST_POINTS_OF_ALL // len(names)))
    scores = _ranking_scores(probabilities)
    ranked = [_Ranked.of(labels == place, scores[:, place], most) for place in range(len(names))]
    areas = np.array([each.auc for each in ranked])
    return {
        "num_items": len(labels),
        "num_classes": len(names),
        "classes": list(names),
        "main": "accuracy",
        "intervals": {name: each.to_json() for name, each in _intervals(labels, scores, confusion, areas).items()},
        "confusion": confusion.tolist(),
        "per_class": _per_class(confusion, ranked, names),
        **_curves(ranked, names),
        "calibration": calibration(labels, probabilities),
    }


def confusion_matrix(labels: Counts, predicted: Counts, num_classes: int) -> Counts:
    """Return how many items of each class (rows) were taken for each class (columns), int (K, K)."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1(confusion: NDArray[Any]) -> tuple[Numbers, Numbers, Numbers]:
    """Return the three measures of each class, float (..., K).

    NaN where they are not defined: the precision of a class that is never predicted, the recall of one that no item
    has, F1 where both hold.

    Args:
        confusion: One matrix or many, (..., K, K).
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    predicted, true = confusion.sum(axis=-2), confusion.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / predicted, right / true, 2 * right / (predicted + true)


def macro_f1(confusion: NDArray[Any]) -> Numbers:
    """Return the mean F1 of the classes that items have or are taken for, float (...), of matrices (..., K, K)."""
    return _mean(precision_recall_f1(confusion)[2])


def calibration(labels: Counts, probabilities: Numbers) -> dict[str, Any]:
    """Return the expected calibration error and the bins it comes from (Guo et al. 2017, equation 3).

    The confidence is the probability of the predicted class; bins are equally wide and hold their upper end.
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    ends = np.linspace(0.0, 1.0, NUM_BINS + 1)
    places = np.clip(np.searchsorted(ends, confidence, side="left") - 1, 0, NUM_BINS - 1)
    counts, sums, right = (
        np.bincount(places, weights, NUM_BINS) for weights in (None, confidence, is_right.astype(np.float64))
    )
    bins = [
        {
            "low": float(ends[place]),
            "high": float(ends[place + 1]),
            "confidence": float(sums[place] / count) if count else None,
            "accuracy": float(right[place] / count) if count else None,
            "count": int(count),
        }
        for place, count in enumerate(counts)
    ]
    return {"ece": float(np.abs(sums - right).sum() / len(labels)), "bins": bins}


def resampled_auc(labels: Counts, scores: Numbers, number: int) -> Numbers:
    """Return the mean area below the ROC curves in *number* resamples of the items, float (R,).

    It is the mean over the classes of each one's against the rest; classes that no item of the resample has, or all
    items, have none. Of two classes both have the same.
    """
    classes = [1] if scores.shape[1] == 2 else [int(each) for each in np.unique(labels)]
    ranks = [_Ranks(labels == each, scores[:, each]) for each in classes]
    found = [
        _mean(np.stack([each.auc(counts) for each in ranks], axis=1))
        for counts in resampled_counts(len(labels), number)
    ]
    return np.concatenate(found) if found else np.empty(0)


class _Ranked(NamedTuple):
    """What is kept of one class's ranking: with many classes, all points of all curves would be a lot."""

    auc: float
    average_precision: float
    roc: tuple[Numbers, Numbers]
    precision_recall: tuple[Numbers, Numbers]

    @classmethod
    def of(cls, is_positive: NDArray[np.bool_], scores: Numbers, most: int) -> _Ranked:
        ranking = Ranking.of(is_positive, scores)
        curves = (thinned(*ranking.roc, most), thinned(*ranking.precision_recall, most))
        return cls(ranking.auc, ranking.average_precision, *curves)


class _Ranks:
    """One class against the rest, in the order of the scores, for many resamples at once."""

    def __init__(self, is_positive: NDArray[np.bool_], scores: Numbers) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._is_positive = is_positive[self._order]
        starts = np.flatnonzero(np.diff(scores[self._order])) + 1
        self._tie_starts = np.append(0, starts)

    def auc(self, counts: Counts) -> Numbers:
        """Return the area in each resample, float (R,), NaN where there is none: Mann and Whitney's statistic."""
        drawn = counts[:, self._order]
        positive = drawn * self._is_positive
        negative = drawn - positive
        if len(self._tie_starts) < drawn.shape[1]:
            positive, negative = (np.add.reduceat(each, self._tie_starts, axis=1) for each in (positive, negative))
        below = np.cumsum(negative, axis=1)
        wins = np.einsum("ij,ij->i", positive, 2 * below - negative) / 2
        with np.errstate(invalid="ignore"):
            return np.asarray(wins / (positive.sum(axis=1) * below[:, -1]))


def _ranking_scores(probabilities: Numbers) -> Numbers:
    """Return what items are ranked by, (N, K): of two classes the logarithm of their ratio, else the probabilities.

    Of a model that is very sure, probabilities of 1 would be ties where those of the other class are not.
    """
    if probabilities.shape[1] > 2:
        return probabilities
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    ratio = logs[:, 1] - logs[:, 0]
    return np.stack([-ratio, ratio], axis=1)


def _intervals(labels: Counts, scores: Numbers, confusion: Counts, areas: Numbers) -> dict[str, Interval]:
    """Return the intervals. What follows from the confusion matrix is resampled there: drawn items are drawn cells."""
    num_items, num_classes = scores.shape
    right = int(np.trace(confusion))
    accuracies = np.random.default_rng(0).binomial(num_items, right / num_items, NUM_RESAMPLES) / num_items
    ranked = 1 if num_classes == 2 else num_classes
    resampled_areas = resampled_auc(labels, scores, num_resamples(num_items * ranked))
    return {
        "accuracy": proportion_interval(right, num_items, accuracies),
        "macro_f1": percentile_interval(float(macro_f1(confusion)), _resampled_f1(confusion)),
        "auc": percentile_interval(float(_mean(areas)), resampled_areas),
    }


def _resampled_f1(confusion: Counts) -> Numbers:
    random, number = np.random.default_rng(0), num_resamples(confusion.size)
    shares, rows = confusion.reshape(-1) / confusion.sum(), max(1, MOST_AT_ONCE // confusion.size)
    found = [
        macro_f1(random.multinomial(confusion.sum(), shares, min(rows, number - first)).reshape(-1, *confusion.shape))
        for first in range(0, number, rows)
    ]
    return np.concatenate(found) if found else np.empty(0)


def _per_class(confusion: Counts, ranked: Sequence[_Ranked], names: Sequence[str]) -> list[dict[str, Any]]:
    precision, recall, f1 = precision_recall_f1(confusion)
    return [
        {
            "name": name,
            "support": int(confusion[place].sum()),
            "precision": float(precision[place]),
            "recall": float(recall[place]),
            "f1": float(f1[place]),
            "auc": ranked[place].auc,
            "average_precision": ranked[place].average_precision,
        }
        for place, name in enumerate(names)
    ]


def _curves(ranked: Sequence[_Ranked], names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the curves of each class, of the second of two; classes without one are left out."""
    first = 1 if len(names) == 2 else 0
    found: dict[str, list[dict[str, Any]]] = {"roc": [], "pr": []}
    for name, each in zip(names[first:], ranked[first:], strict=True):
        if np.isfinite(each.auc):
            found["roc"].append(_curve(name, *each.roc))
        if np.isfinite(each.average_precision):
            found["pr"].append(_curve(name, *each.precision_recall))
    return found


def _curve(name: str, x: Numbers, y: Numbers) -> dict[str, Any]:
    return {"name": name, "x": x.round(6).tolist(), "y": y.round(6).tolist()}


def _mean(values: Numbers) -> Numbers:
    """Return the means over the last axis without what is NaN; NaN where nothing is left."""
    is_known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(is_known, values, 0).sum(axis=-1) / is_known.sum(axis=-1))
