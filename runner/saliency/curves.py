"""Deletion and insertion: whether the score follows the order in which a map ranks the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.saliency.fills import blurred

Array = NDArray[Any]

BLUR_SIGMA = 5 / 224
"""Of the blur that insertion starts from, as a part of the longest side: RISE's code has 5 pixels of 224."""


def deletion_insertion(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    fill: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = 32,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, Array]:
    """Return the areas under the deletion and insertion curves (Petsiuk et al. 2018, arXiv:1806.07421, section 4).

    Deletion hides the pixels behind the fill, insertion shows them in place of a blurred image, both from the largest
    value of the map to the smallest, in equal steps. The curve is the score of the target over the part of pixels, from
    0 to 1; its area is taken by the trapezoidal rule. A good map has a small deletion and a large insertion area. The
    same in a random order is what it has to beat.

    Args:
        score: From images (B, C, *size) to scores, float (B, K).
        image: float (C, *size).
        fill: What hides pixels; broadcasts to the image.
        maps: float (T, *size) on the device of the image.
        targets: int64 (T,), the score that each map explains.
        steps: Steps from the whole image to none; at most one per pixel.
        batch_size: Images in a forward pass.
        seed: Of the random order, which is one for all maps.

    Returns:
        ``deletion_auc``, ``insertion_auc``, ``random_deletion_auc`` and ``random_insertion_auc``, float32 (T,) each;
        NaN where a score is.
    """
    num_pixels = math.prod(image.shape[1:])
    counts = np.linspace(0, num_pixels, min(steps, num_pixels) + 1).round().astype(int).tolist()
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(num_pixels)).to(image.device)
    ranks = [_ranks(each.flatten()) for each in maps]
    start = blurred(image, max(0.5, BLUR_SIGMA * max(image.shape[1:])))
    areas: dict[str, Array] = {}
    for name, inside, outside in (("deletion", fill.expand_as(image), image), ("insertion", image, start)):
        # one row of scores per order and count; the random order serves all targets
        wanted = [(order.view(image.shape[1:]), count) for order in (*ranks, shuffled) for count in counts]
        batches = _batches(inside, outside, wanted, batch_size)
        rows = torch.cat([score(images)[:number].double().cpu() for images, number in batches])
        curves = rows.view(len(maps) + 1, len(counts), -1)
        part = torch.tensor(counts, dtype=torch.float64) / num_pixels
        own = torch.stack([curve[:, target] for curve, target in zip(curves, targets.tolist(), strict=False)])
        areas[f"{name}_auc"] = torch.trapezoid(own, part).float().numpy()
        areas[f"random_{name}_auc"] = torch.trapezoid(curves[-1][:, targets.cpu()].T, part).float().numpy()
    return areas


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each pixel in the order from the largest value to the smallest; equal ones in their order."""
    order = values.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks


def _batches(
    inside: Tensor, outside: Tensor, wanted: Sequence[tuple[Tensor, int]], batch_size: int
) -> Iterator[tuple[Tensor, int]]:
    """Yield batches of one size with the first pixels of an order taken from *inside*, and how many images count."""
    batch_size = min(batch_size, len(wanted))
    images = inside.new_empty(batch_size, *inside.shape)
    for begin in range(0, len(wanted), batch_size):
        part = wanted[begin : begin + batch_size]
        for place, (order, count) in enumerate(part):
            torch.where(order < count, inside, outside, out=images[place])
        yield images, len(part)
