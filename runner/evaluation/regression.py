"""How good a regression is: errors, the share of the variance that is explained, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.evaluation.bootstrap import num_resamples, percentile_interval, resampled_counts

Numbers = NDArray[np.float64]

MOST_POINTS = 2000
"""Of target and prediction that evaluation.json holds."""


def evaluate_regression(targets: Numbers, predictions: Numbers, names: Sequence[str]) -> dict[str, Any]:
    """Return all that evaluation.json says about a regression.

    Args:
        targets: The truth, float (N, P), N > 0, finite.
        predictions: Float (N, P), finite.
        names: Of the P outputs. Measures are the mean of those of each output.
    """
    sums = _Sums(targets, predictions)
    values = sums.measures(np.ones((1, len(targets)), dtype=np.int64))
    number = num_resamples(len(targets))
    parts = [sums.measures(counts) for counts in resampled_counts(len(targets), number)]
    resampled = {name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0) for name in values}
    chosen = np.unique(np.linspace(0, len(targets) - 1, min(len(targets), MOST_POINTS)).round().astype(np.int64))
    return {
        "num_items": len(targets),
        "outputs": list(names),
        "main": "mae",
        "intervals": {name: percentile_interval(float(values[name][0]), resampled[name]).to_json() for name in values},
        "points": [
            {"name": name, "target": targets[chosen, place].tolist(), "prediction": predictions[chosen, place].tolist()}
            for place, name in enumerate(names)
        ],
    }


class _Sums:
    """What is added up over the items of a resample, (N, P) each."""

    def __init__(self, targets: Numbers, predictions: Numbers) -> None:
        errors = predictions - targets
        centred = targets - targets.mean(axis=0)  # else the variance would be a small difference of large numbers
        self._parts = np.stack([np.abs(errors), errors**2, centred, centred**2])
        self._scale = np.abs(targets).max(axis=0)

    def measures(self, counts: NDArray[np.int64]) -> dict[str, Numbers]:
        """Return mean absolute error, root mean square error and R2, float (R,) each.

        R2 is NaN where the targets are all equal.

        Args:
            counts: How often each item is drawn, int (R, N).
        """
        num_items = counts.shape[1]
        absolute, square, target, target_square = counts.astype(np.float64) @ self._parts / num_items
        variance = target_square - target**2
        variance[variance <= (1e-12 * self._scale) ** 2] = np.nan
        return {
            "mae": absolute.mean(axis=1),
            "rmse": np.sqrt(square).mean(axis=1),
            "r2": (1 - square / variance).mean(axis=1),
        }
