"""xaitk-saliency's scoring with what its last step throws away: how strong a map is."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from smqtk_core.configuration import from_config_dict, to_config_dict
from xaitk_saliency.impls.gen_classifier_conf_sal.mc_rise_scoring import MCRISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.occlusion_scoring import OcclusionScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.interfaces.gen_classifier_conf_sal import GenerateClassifierConfidenceSaliency

Array = NDArray[Any]


class RawScoring(GenerateClassifierConfidenceSaliency):
    """Another scoring, whose maps keep their strength instead of being scaled to a maximum of 1.

    xaitk-saliency divides each map by its largest absolute value, so that a map of noise looks as strong as any other.
    This value is computed again, at the one pixel where the map has it, and multiplied in. Its unit does not depend
    on the number of masks:

    - ``RISEScoring``: by how much the mean score is higher where the pixel is visible than on average; the sum of
      RISE (Petsiuk et al. 2018, arXiv:1806.07421, eq. 6) divided by the number of masks and by the probability p1.
    - ``MCRISEScoring``: by how much the mean score is higher where the pixel has the colour than where it is visible
      (Hatakeyama et al. 2020, ACCV); the sum divided by the number of masks and by p1 (1 - p1), which xaitk-saliency
      leaves out. Exact for p1 = 0.5 only: xaitk-saliency 0.15 weighs the two sides with p1 and 1 - p1 exchanged.
    - ``OcclusionScoring``: by how much the score drops, on the mean of the masks that hide the pixel.
    - any other: as it comes.

    Centring subtracts the mean of the perturbed scores over the masks, a control variate. Without it a map holds the
    pattern of the masks, multiplied by the mean score. It applies to RISEScoring and MCRISEScoring only:
    OcclusionScoring works on differences to the score of the whole image already, and leaves nothing to centre.
    """

    def __init__(self, scoring: GenerateClassifierConfidenceSaliency, *, centered: bool = True) -> None:
        self.scoring = scoring
        self.centered = centered

    def generate(self, reference: Array, perturbed: Array, perturbed_masks: Array) -> Array:
        """Return the maps.

        Args:
            reference: Scores of the whole image, float (C,).
            perturbed: Scores of the perturbed images, float (N, C).
            perturbed_masks: (N, H, W), 1 where visible; (k, N, H, W) for MCRISEScoring.

        Returns:
            float of the shape that the other scoring returns, (C, H, W) for most. The map of a class with a score
            that is NaN or infinite is NaN.
        """
        bad = ~(np.isfinite(perturbed).all(axis=0) & np.isfinite(reference))
        reference, perturbed = np.where(bad, 0, reference), np.where(bad, 0, perturbed)
        if self.centered and isinstance(self.scoring, RISEScoring | MCRISEScoring):
            perturbed = (perturbed - perturbed.mean(axis=0, dtype=np.float64)).astype(perturbed.dtype)
        with np.errstate(invalid="ignore"):  # SquaredDifferenceScoring divides 0 by 0 when no score changes
            maps = np.asarray(self.scoring.generate(reference, perturbed, perturbed_masks))
        if maps.ndim == 2:  # one map for all classes together
            return np.full_like(maps, np.nan) if bad.any() else maps
        maps = maps * self._strengths(maps, reference, perturbed, perturbed_masks)[..., None, None]
        maps[..., bad, :, :] = np.nan
        return maps

    def _strengths(self, maps: Array, reference: Array, perturbed: Array, masks: Array) -> Array:
        """Return the largest absolute value that each map had before it was scaled, float of shape (..., C)."""
        peaks = np.abs(maps).reshape(*maps.shape[:-2], -1).argmax(axis=-1)
        masks = masks.reshape(*masks.shape[:-2], -1)
        if isinstance(self.scoring, RISEScoring):
            return _rise_strengths(perturbed, masks, peaks, self.scoring.p1)
        if isinstance(self.scoring, MCRISEScoring):
            return _mc_rise_strengths(perturbed, masks, peaks, self.scoring.p1)
        if isinstance(self.scoring, OcclusionScoring):
            return _occlusion_strengths(reference - perturbed, masks, peaks)
        return np.ones(1, dtype=maps.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what :meth:`from_config` takes, for JSON."""
        return {"scoring": to_config_dict(self.scoring), "centered": self.centered}

    @classmethod
    def from_config(cls, config_dict: dict[str, Any], merge_default: bool = True) -> Self:
        """Make one from :meth:`get_config`'s result."""
        del merge_default
        scoring = from_config_dict(config_dict["scoring"], GenerateClassifierConfidenceSaliency.get_impls())
        return cls(scoring, centered=config_dict["centered"])


def _rise_strengths(scores: Array, masks: Array, peaks: Array, p1: float) -> Array:
    """Return the strengths, float (C,), from scores (N, C), masks (N, H * W) and the index of each class's peak."""
    sums = (scores * (masks[:, peaks] - p1)).sum(axis=0, dtype=np.float64)
    visible = p1 or masks.mean(dtype=np.float64)  # p1 is 0 when xaitk-saliency's debiasing is off
    return np.asarray(np.abs(sums) / (len(scores) * visible))


def _mc_rise_strengths(scores: Array, masks: Array, peaks: Array, p1: float) -> Array:
    """Return the strengths, float (k, C), from scores (N, C), masks (k, N, H * W) and peaks (k, C)."""
    colored = 1 - masks
    visible = 1 - colored.sum(axis=0)
    share = p1 or visible.mean(dtype=np.float64)
    strengths = np.empty(peaks.shape)
    for color, at in enumerate(peaks):
        weights = len(masks) * colored[color][:, at] * (1 - p1) - visible[:, at] * p1
        strengths[color] = np.abs((scores * weights).sum(axis=0, dtype=np.float64))
    return strengths / (len(scores) * share * (1 - share))


def _occlusion_strengths(drops: Array, masks: Array, peaks: Array) -> Array:
    """Return the strengths, float (C,), from drops of the score (N, C), masks (N, H * W) and peaks (C,)."""
    hidden = 1 - masks[:, peaks].astype(np.float64)
    times = hidden.sum(axis=0)
    return np.asarray(np.abs((drops * hidden).sum(axis=0)) / np.where(times == 0, 1, times))
