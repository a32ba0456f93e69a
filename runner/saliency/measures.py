"""How good maps are, as far as that can be told from the maps alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_STEPS = 2.0**38
"""Per 1: fine enough for 11 digits, and coarse enough for the sum of 30 million maps."""


def entropy(maps: Array) -> Array:
    """Return the entropy of the positive values of each map in bits: how far the evidence is spread.

    The positive values are divided by their sum and taken as probabilities p; the entropy is ``-sum p log2 p``, from 0
    for one pixel to log2 of the number of pixels. That is xaitk-saliency's ``Entropy`` with ``clip_range=(0, 1)``. With
    the range (-1, 1), which its documentation gives for whole maps, xaitk-saliency 0.15 returns -inf for any map with
    negative values: they are no probabilities.

    Args:
        maps: float (T, *size) in [-1, 1].

    Returns:
        float32 (T,), NaN for a map without positive values.
    """
    positive = np.clip(maps.reshape(len(maps), math.prod(maps.shape[1:])), 0, 1).astype(np.float64)
    totals = positive.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = positive / totals
        bits = -np.where(parts > 0, parts * np.log2(parts), 0).sum(axis=1)
    return np.where(totals[:, 0] > 0, bits, np.nan).astype(np.float32)


def mask_correlation(maps: Array, mean_mask: Array) -> Array:
    """Return the Pearson correlation of each map with the mean of the masks: an artefact of the method if it is high.

    Random masks do not show each pixel equally often. A map that looks like how often shows the masks and not the
    model, as that of RISE without centring does for a score that hardly changes. The measure is our own.

    Args:
        maps: float (T, *size).
        mean_mask: float (*size).

    Returns:
        float32 (T,), NaN where one of the two is constant.
    """
    return np.array([pearson(each, mean_mask) for each in maps], dtype=np.float32)


def pearson(first: Array, second: Array) -> float:
    """Return the Pearson correlation of two maps of one size, of signed values.

    The covariance of their pixels over both standard deviations, -1 to 1. Between the maps of two seeds it is the
    repeatability of a method with random masks.

    Returns:
        NaN where one is constant or not finite.
    """
    a, b = _standardized(first), _standardized(second)
    return math.nan if a is None or b is None else float(a @ b)


def spearman(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation of two maps of one size, of signed values: Pearson's of their ranks.

    Equal values have the mean of their ranks. Adebayo et al. 2018 (arXiv:1810.03292) compare the maps of a trained and
    of a random model by it, once of the maps as they are and once of their absolute values. We take the maps as they
    are: ours are positive for evidence and negative for what speaks against it, which absolute values would mix up. A
    random model has no reason to prefer a class, so that a map turned upside down is as suspicious as one that stays;
    the measure is therefore the absolute value of the correlation. Unrelated smooth maps do not come out at 0.

    Returns:
        NaN where one is constant or not finite.
    """
    from scipy.stats import rankdata  # late: it takes long to load

    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    return pearson(rankdata(first), rankdata(second))


class PairwiseCorrelation:
    """The mean Pearson correlation of all pairs of maps, without keeping the maps.

    High where maps look alike whatever the image: they explain the data set or the method, not the image. With each
    of n maps z standardised to mean 0 and length 1, the mean over pairs is ``(|sum z|^2 - n) / (n (n - 1))``. Maps that
    are constant or not finite are left out. Maps of another size than the first are not comparable and left out, too.
    The sum is of whole numbers, so that it does not depend on the order of the maps.
    """

    def __init__(self) -> None:
        self._sum: Array | None = None
        self._shape: tuple[int, ...] = ()
        self._number = 0

    def add(self, maps: Array) -> None:
        """Add one map, float (*size)."""
        standardized = _standardized(maps)
        if standardized is None:
            return
        self._add(np.rint(standardized * _STEPS).astype(np.int64), maps.shape, 1)

    def take(self, other: Mapping[str, Array]) -> None:
        """Add all maps of which :meth:`state` is *other*."""
        if int(other["pairs_number"]):
            shape = tuple(int(each) for each in other["pairs_shape"])
            self._add(other["pairs_sum"], shape, int(other["pairs_number"]))

    def state(self) -> dict[str, Array]:
        """Return what to keep of the maps so far, for :meth:`take`."""
        found = np.zeros(0, np.int64) if self._sum is None else self._sum
        return {"pairs_sum": found, "pairs_shape": np.array(self._shape), "pairs_number": np.array(self._number)}

    def _add(self, values: Array, shape: tuple[int, ...], number: int) -> None:
        if self._sum is None:
            self._sum, self._shape = np.zeros_like(values), shape
        if shape == self._shape:
            self._sum += values
            self._number += number

    def result(self) -> float:
        """Return the mean over all pairs, NaN for fewer than two maps."""
        if self._sum is None or self._number < 2:
            return math.nan
        total = self._sum / _STEPS
        return float((total @ total - self._number) / (self._number * (self._number - 1)))


def _standardized(maps: Array) -> Array | None:
    """Return the values with mean 0 and length 1, float64 (pixels,); None for a map that is constant or not finite."""
    values = maps.astype(np.float64).ravel()
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return None
    values -= values.mean()
    return np.asarray(values / np.linalg.norm(values))
