"""Deletion and insertion: whether the score follows the order in which a map ranks the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.saliency.fills import blurred
from runner.saliency.forward_format import full_precision

Array = NDArray[Any]

BLUR_SIGMA = 5.0
"""Of the blur that insertion starts from, in pixels, for images of up to 224 pixels; in larger ones it grows with the
longest side. RISE's code has the same 5 pixels at 224, but cuts the Gaussian to 11 x 11, which leaves 3.1. Less than 5
in smaller images would hide nothing there: with the same part of 32 pixels digits keep their score."""


def deletion_insertion(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    fill: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = 32,
    batch_size: int = 64,
    seed: int | Sequence[int] = 0,
    curves: Collection[str] = ("deletion", "insertion"),
) -> dict[str, Array]:
    """Return the areas under the deletion and insertion curves (Petsiuk et al. 2018, arXiv:1806.07421, section 4).

    Deletion hides the pixels behind the fill, insertion shows them in place of a blurred image, both from the largest
    value of the map to the smallest, in equal steps; equal values follow each other row by row. The curve is the score
    of the target over the part of pixels, from 0 to 1; its area is taken by the trapezoidal rule. A good map has a
    small deletion and a large insertion area. The same in a random order is what it has to beat.

    Besides the maps and their orders, memory holds one batch and two numbers per map and step.

    Args:
        score: From images (B, C, *size) to scores, float (B, K).
        image: float (C, *size).
        fill: What hides pixels; broadcasts to the image.
        maps: float (T, *size), finite, on the device of the image.
        targets: int64 (T,) on the same device, the score that each map explains.
        steps: Steps from the whole image to none; at most one per pixel.
        batch_size: Images in a forward pass, the same number in each: the last one is filled up.
        seed: Of the random order, which is one for all maps and the same on every machine.
        curves: Which of the two to make.

    Returns:
        ``deletion_auc`` and ``random_deletion_auc``, ``insertion_auc`` and ``random_insertion_auc``, float32 (T,) each;
        NaN where a score is.
    """
    num_pixels = math.prod(image.shape[1:])
    counts = np.linspace(0, num_pixels, min(steps, num_pixels) + 1).round().astype(int).tolist()
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(num_pixels)).to(image.device)
    orders = [_ranks(each.flatten()).view(image.shape[1:]) for each in maps]
    # of a map's own order only its own target counts; the random order serves all of them
    wanted = [(order, count, targets[place : place + 1]) for place, order in enumerate(orders) for count in counts]
    wanted += [(shuffled.view(image.shape[1:]), count, targets) for count in counts]
    with full_precision(image.device):
        start = blurred(image, BLUR_SIGMA * max(1.0, max(image.shape[1:]) / 224))
    sources = {"deletion": (fill.to(image).expand_as(image), image), "insertion": (image, start)}
    part = torch.tensor(counts, dtype=torch.float64) / num_pixels
    areas: dict[str, Array] = {}
    for name in curves:
        values = _scores(score, *sources[name], wanted, batch_size)
        own, random = values[: len(values) // 2], values[len(values) // 2 :]
        areas[f"{name}_auc"] = torch.trapezoid(own.view(len(maps), len(counts)), part).float().numpy()
        areas[f"random_{name}_auc"] = torch.trapezoid(random.view(len(counts), len(maps)).T, part).float().numpy()
    return areas


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each pixel in the order from the largest value to the smallest; equal ones in their order."""
    order = values.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks


@torch.no_grad()
def _scores(
    score: Callable[[Tensor], Tensor],
    inside: Tensor,
    outside: Tensor,
    wanted: Sequence[tuple[Tensor, int, Tensor]],
    batch_size: int,
) -> Tensor:
    """Return the scores of images with the first pixels of an order taken from *inside*, float64 on the CPU.

    Args:
        score: From images to scores.
        inside: (C, *size).
        outside: (C, *size), the other pixels.
        wanted: For each image the order, how many pixels, and which scores; these are returned one after the other.
        batch_size: Images in a forward pass.
    """
    batch_size = min(batch_size, len(wanted))
    images = outside.new_empty(batch_size, *outside.shape)
    found: list[Tensor] = []
    for begin in range(0, len(wanted), batch_size):
        batch = wanted[begin : begin + batch_size]
        for place, (order, count, _) in enumerate(batch):
            torch.where(order < count, inside, outside, out=images[place])
        scores = score(images)
        found += [scores[place, columns] for place, (_, _, columns) in enumerate(batch)]
    return torch.cat(found).cpu().double()
