"""What every strategy hands over: the maps of one image before they are scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RawMaps:
    """Maps of one image, one per target (T), with their strength; *size* is (H, W), or (D, H, W) for a volume."""

    maps: Array
    """float (T, *size), positive where evidence lies; not finite where a score was not."""
    scores: Array
    """float32 (K,): the scores of the whole image."""
    targets: Array
    """int64 (T,): which of the scores are explained."""
    color_maps: Array | None = None
    """MC-RISE only: float (k, T, H, W), positive where the colour raises the score."""
    num_masks: int = 0
    """How many perturbed images the maps come from; 0 for methods without."""
    mean_mask: Array | None = None
    """float32 (*size): the mean of the masks, where they were drawn at random; a good map does not look like it."""
    quality: Array | None = None
    """float32 (T,): predicted correlation of each map with the one of infinitely many masks; None where unknown."""


def strongest_color(color_maps: Array) -> Array:
    """Return one map per target from those of the colours of MC-RISE.

    Each pixel has the value of the colour with the largest effect, with the other sign, so that positive means as for
    all methods: what is there speaks for the class.

    Args:
        color_maps: float (k, T, H, W).

    Returns:
        float (T, H, W).
    """
    strongest = np.abs(color_maps).argmax(axis=0, keepdims=True)
    summed_up: Array = -np.take_along_axis(color_maps, strongest, axis=0)[0]
    return summed_up


class Strategy(Protocol):
    """A way to make maps."""

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order.

        Args:
            images: float (B, C, *size), as the model takes them, on its device.
            labels: The true class of each image, -1 where it is not known.
            queries: float (Q, C, *size), for methods that explain similarity to other images; else None.

        Raises:
            RunFailedError: the container's parameters or methods do not fit the images or the model.
        """
