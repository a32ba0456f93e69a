"""What there is to know about one image: its maps, their strength, scores, truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OK, CONSTANT, NOT_FINITE = "ok", "constant", "not_finite"

NOISE = 1e-7
"""A map that varies less is constant: float32 scores near 1 are this far apart."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One image of the data set and the maps of its targets (T), scaled to [-1, 1], positive where evidence lies.

    A map with another flag than ``ok`` points nowhere and is all zero. *size* is (H, W), or (D, H, W) for a volume.
    """

    index: int
    """Place in the data set, from 0."""
    image: Array
    """float32 (C, *size), as the model takes it."""
    maps: Array
    """float32 (T, *size)."""
    strength: Array
    """float32 (T,): the largest absolute value of each map before it was scaled, in the unit that
    :class:`~runner.saliency.scoring.RawScoring` tells; NaN for a map that is not finite."""
    flags: Array
    """str (T,): ``ok``, ``constant`` or ``not_finite``."""
    targets: Array
    """int64 (T,): the classes explained."""
    scores: Array
    """float32 (K,): the scores of the whole image."""
    label: int = -1
    """The true class; -1 where it is not known."""
    truth: Array | None = None
    """bool (*size): where the evidence truly lies; None where that is not known."""
    color_maps: Array | None = None
    """MC-RISE only: float32 (k, T, H, W), one map per colour as xaitk-saliency has them, positive where the colour
    raises the score. ``maps`` holds for each pixel the colour with the largest effect, with the other sign, so that
    positive means as for all methods: what is there speaks for the class."""
    color_strength: Array | None = None
    """MC-RISE only: float32 (k, T)."""

    num_masks: int = 0
    """How many perturbed images the maps come from; 0 for methods without."""
    quality: Array | None = None
    """float32 (T,): predicted correlation of each map with the one of infinitely many masks; None where unknown."""
    measures: Mapping[str, Array] = field(default_factory=dict)
    """float32 (T,) each: how good the maps are, by name; NaN where a measure does not apply. See
    :mod:`~runner.saliency.measures`."""

    def __repr__(self) -> str:
        strengths = ", ".join(
            f"{each:.3g} for {target}" for target, each in zip(self.targets, self.strength, strict=True)
        )
        return f"<Explanation of image {self.index}: maps {self.maps.shape}, strength {strengths}>"

    @property
    def predicted(self) -> int:
        """The class with the highest score; with a single score 1 if it is at least 0.5, else 0; -1 without any."""
        return predicted_class(self.scores)

    @property
    def predicted_score(self) -> float:
        """The highest score, or the only one; NaN without any."""
        if not len(self.scores):
            return math.nan
        return float(self.scores[0] if len(self.scores) == 1 else self.scores.max())

    @property
    def is_correct(self) -> bool | None:
        """Whether label and prediction agree; None without a label."""
        return None if self.label < 0 else self.label == self.predicted

    @property
    def main(self) -> int | None:
        """The place in ``targets`` of the map that speaks for the image: of the label, else of the prediction, else 0.

        None where there are no targets, as for an image in which a detector finds nothing.
        """
        targets = self.targets.tolist()
        if not targets:
            return None
        return next((targets.index(each) for each in (self.label, self.predicted) if each in targets), 0)

    def is_flagged(self, place: int) -> bool:
        """Tell whether the map at *place* in ``targets`` points nowhere."""
        return str(self.flags[place]) != OK

    def peak(self, place: int) -> tuple[int, ...] | None:
        """Return row and column of the largest value of the map at *place*; None when it is flagged.

        In a volume they are slice, row and column.
        """
        if self.is_flagged(place):
            return None
        return tuple(int(each) for each in np.unravel_index(self.maps[place].argmax(), self.maps[place].shape))

    def peak_in_truth(self, place: int) -> bool | None:
        """Play the pointing game (Zhang et al. 2016, arXiv:1608.00507), without its tolerance of 15 pixels.

        Returns:
            Whether the peak lies in the truth, False for a flagged map; None where the truth is empty or not known.
        """
        if self.truth is None or not self.truth.any():
            return None
        peak = self.peak(place)
        return peak is not None and bool(self.truth[peak])

    def energy_in_truth(self, place: int) -> float | None:
        """Play the energy-based pointing game (Wang et al. 2020, Score-CAM, arXiv:1910.01279).

        Returns:
            The share of the sum of positive values that lies in the truth, 0 to 1, and 0 where there are none; None
            where the truth is empty or not known.
        """
        if self.truth is None or not self.truth.any():
            return None
        positive = np.clip(self.maps[place], 0, None).astype(np.float64)
        total = positive.sum()
        return float(positive[self.truth].sum() / total) if total else 0.0


def predicted_class(scores: Array) -> int:
    """Return the class that *scores*, float (K,), predict; see :attr:`Explanation.predicted`."""
    if len(scores) == 1:
        return int(scores[0] >= 0.5)
    return int(scores.argmax()) if len(scores) else -1


class ScaledMaps(NamedTuple):
    """Fields of :class:`Explanation`."""

    maps: Array
    strength: Array
    flags: Array


def scaled_maps(raw: Array) -> ScaledMaps:
    """Scale maps to [-1, 1] and say what became of each.

    Args:
        raw: Maps with their strength, float (T, *size).
    """
    flat = raw.reshape(len(raw), math.prod(raw.shape[1:]))
    strength = np.abs(flat).max(axis=1)
    flags = np.array([_flag(each) for each in flat], dtype=f"<U{len(NOT_FINITE)}")
    usable = (flags == OK)[:, None]
    maps = np.where(usable, flat, 0) / np.where(usable, strength[:, None], 1)
    finite_strength = np.where(np.isfinite(strength), strength, np.nan)
    return ScaledMaps(maps.reshape(raw.shape).astype(np.float32), finite_strength.astype(np.float32), flags)


def _flag(raw: Array) -> str:
    if not np.isfinite(raw).all():
        return NOT_FINITE
    return CONSTANT if np.ptp(raw) <= NOISE else OK
