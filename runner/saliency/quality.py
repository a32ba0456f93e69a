"""How good a map from random masks is, told from its two halves."""

from __future__ import annotations

import torch
from torch import Tensor

CONFIDENCE = 2.0
"""Standard errors that a prediction is lowered by before it is compared; ``tests/benchmarks/adaptive_masks.py``."""


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the Pearson correlation of the maps of each target, float (T,); NaN where one is constant.

    Args:
        first: float (T, ...).
        second: The same shape.
    """
    a, b = (each.flatten(1).double() for each in (first, second))
    a, b = (each - each.mean(dim=1, keepdim=True) for each in (a, b))
    product: Tensor = (a * b).sum(dim=1) / ((a * a).sum(dim=1) * (b * b).sum(dim=1)).sqrt()
    return product


def predicted_quality(first: Tensor, second: Tensor) -> Tensor:
    """Predict how well the map from both halves of the masks correlates with the one from infinitely many masks.

    The halves are two measurements of the same map with independent errors. Their correlation q is the reliability of
    one, ``2 q / (1 + q)`` that of both together (Spearman 1910, Brown 1910), and its root the correlation with what is
    measured.

    Args:
        first: The map from one half of the masks, float (T, ...).
        second: That from the other half.

    Returns:
        float32 (T,) from 0 to 1; 0 where the halves do not agree at all; NaN for maps that are constant or not finite.
    """
    return _full(correlation(first, second))


def reaches(target: float, first: Tensor, second: Tensor, pieces: int) -> bool:
    """Tell whether the predicted quality of all targets is *target* or more, and not by luck.

    Args:
        target: From 0 to 1.
        first: The map from one half of the masks, float (T, ...).
        second: That from the other half.
        pieces: How many independent values a map has, about: the cells of the grid.
    """
    q = correlation(first, second)
    error = 1 / max(pieces - 3, 1) ** 0.5  # of Fisher's z
    lower = torch.tanh(torch.atanh(q.clamp(-1 + 1e-9, 1 - 1e-9)) - CONFIDENCE * error)
    return bool((_full(lower) >= target).all())


def _full(q: Tensor) -> Tensor:
    return (2 * q / (1 + q)).clamp(min=0).sqrt().float()
