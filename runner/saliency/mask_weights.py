"""Weights of masks turned into maps: what D-RISE and SBSM have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xaitk_saliency.interfaces.perturb_image import PerturbImage

from runner.errors import RunFailedError
from runner.saliency.classifier import as_array
from runner.saliency.forward_format import full_precision
from runner.saliency.masks import Masks
from runner.saliency.quality import predicted_quality

Array = NDArray[Any]

BATCH_SIZE = 16
"""Images per forward pass where ``saliency_batch_size`` leaves it open."""


class WeightedMasks:
    """The mean weight of the masks at each pixel, added up block by block: memory does not grow with their number.

    Equal to xaitk-saliency's ``weight_regions_by_scalar``. Two halves of the masks are kept apart, to tell from how
    they differ how good the map is.
    """

    def __init__(self, num_targets: int, size: tuple[int, ...], device: torch.device) -> None:
        self.count = 0
        """How many masks there were."""
        self._weighted = torch.zeros(2, num_targets, *size, device=device)
        self._covered = torch.zeros(2, *size, device=device)

    def add(self, weights: Tensor, masks: Tensor) -> None:
        """Add a block.

        Args:
            weights: float32 (n, T), of each mask for each target.
            masks: float32 (n, 1, *size), by how much each mask counts at each pixel.
        """
        with full_precision(masks.device):
            for half in (0, 1):
                part = slice((self.count + half) % 2, None, 2)
                product = weights[part].T @ masks[part].flatten(1)
                self._weighted[half] += product.view_as(self._weighted[half])
                self._covered[half] += masks[part, 0].sum(dim=0)
        self.count += len(masks)

    def maps(self) -> Tensor:
        """Return the mean weights, float32 (T, *size), 0 where no mask counts."""
        return _mean(self._weighted.sum(dim=0), self._covered.sum(dim=0))

    def mean_mask(self) -> Tensor:
        """Return the mean of the masks, float32 (*size)."""
        return self._covered.sum(dim=0) / self.count

    def quality(self) -> Tensor | None:
        """Return what :func:`~runner.saliency.quality.predicted_quality` says, float32 (T,); None for a single mask."""
        if self.count < 2:
            return None
        first, second = (_mean(*each) for each in zip(self._weighted, self._covered, strict=True))
        return predicted_quality(first, second)


def _mean(weighted: Tensor, covered: Tensor) -> Tensor:
    return weighted / covered.where(covered != 0, 1)


def strengths_at_peaks(maps: Array, weights: Array, masks: Array) -> Array:
    """Return the largest absolute value that maps had before xaitk-saliency scaled it to 1.

    It is computed again at the one pixel where the map has it.

    Args:
        maps: As scaled, float (T, H, W).
        weights: Of the N masks, float (N, T).
        masks: By how much each mask counts at each pixel, float (N, H, W).

    Returns:
        float64 (T, 1, 1).
    """
    peaks = np.abs(maps).reshape(len(maps), -1).argmax(axis=1)
    at_peaks = masks.reshape(len(masks), -1)[:, peaks].astype(np.float64)
    covered = at_peaks.sum(axis=0)
    means = np.abs((weights * at_peaks).sum(axis=0)) / np.where(covered == 0, 1, covered)
    return np.asarray(means[:, None, None])


def blocks_of(masks: Masks, batch_size: int) -> Iterator[Tensor]:
    """Yield all masks but the one that leaves the image whole, float32 (n, 1, *size) with n up to *batch_size*."""
    stop = masks.num_masks + 1
    for start in range(1, stop, batch_size):
        with full_precision(masks.device):
            rows = masks.rows(start, min(start + batch_size, stop))
        yield rows


def visible_masks(perturber: PerturbImage, image: Tensor) -> Array:
    """Return the masks of xaitk-saliency's *perturber* for *image*, (C, H, W): (N, H, W), 1 where visible.

    Raises:
        RunFailedError: it made no such masks.
    """
    masks = np.asarray(perturber.perturb(as_array(image)))
    if masks.ndim != 3 or not len(masks) or masks.shape[1:] != image.shape[1:]:
        raise RunFailedError(
            f"get_saliency_generator: {type(perturber).__name__} made masks of shape {masks.shape}, not (number of "
            f"masks, {image.shape[1]}, {image.shape[2]})."
        )
    return masks


def hidden_blocks(image: Tensor, fill: Tensor, masks: Array, batch_size: int) -> Iterator[Tensor]:
    """Yield *image*, (C, H, W), behind each of *masks*, (N, H, W) and 1 where visible: float (n, C, H, W)."""
    for start in range(0, len(masks), batch_size):
        rows = torch.from_numpy(masks[start : start + batch_size])
        yield torch.lerp(fill, image, rows[:, None].to(image.device, image.dtype))


def checked_maps(maps: Any, num_targets: int, image: Tensor) -> Array:
    """Return what an implementation of xaitk-saliency made, float (T, H, W).

    Raises:
        RunFailedError: it has another shape.
    """
    array = np.asarray(maps)
    if array.shape != (num_targets, *image.shape[1:]):
        raise RunFailedError(
            f"get_saliency_generator: the implementation made maps of shape {array.shape} for {num_targets} targets "
            f"and an image of {image.shape[1]} x {image.shape[2]} pixels."
        )
    return array
