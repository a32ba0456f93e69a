"""The formats of a model's forward pass, timed apart from the engine: what the engine's choice is measured against."""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from runner.saliency.forward_format import exact_format
from tests.benchmarks.saliency_timing import cpu_seconds

BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
TRIAL_SIZES = (8, 32)
"""Batch sizes in which formats are compared; each has its own best one."""


@dataclass(frozen=True)
class TimedFormat:
    """A model in a format."""

    model: nn.Module
    memory_format: torch.memory_format
    """Of the images."""

    def prepared(self, images: Tensor) -> Tensor:
        """Return the images as the format takes them."""
        return torch.empty_like(images, memory_format=self.memory_format).copy_(images)


def formats(model: nn.Module, image: Tensor) -> dict[str, TimedFormat]:
    """Return a model in each format.

    The last one is the engine's, which takes images with channels first; the others are made by torch's own means.

    Args:
        model: In evaluation mode.
        image: Float (1, C, H, W), to try the formats on.
    """
    last, first = torch.channels_last, torch.contiguous_format
    found = {"plain": TimedFormat(model, first)}
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return found
    folded = fuse(copy.deepcopy(model))
    found["folded"] = TimedFormat(folded, first)
    for name, other in (("channels_last", model), ("channels_last + folded", folded)):
        clone: Any = copy.deepcopy(other)  # whose to() is typed without memory_format
        found[name] = TimedFormat(clone.to(memory_format=last), last)
    with torch.inference_mode():
        exact = exact_format(model, lambda module, batch: module(batch), image)
    return found | {"exact_format": TimedFormat(exact.model, first)}


def best_format(found: dict[str, TimedFormat], images: Tensor, rounds: int = 3) -> dict[str, float]:
    """Return the CPU milliseconds per image of each format with the better of the trial sizes, the fastest first."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, form in found.items():
            prepared = form.prepared(images[: TRIAL_SIZES[-1]])
            seconds[name].append(min(seconds_per_image(form.model, prepared[:size]) for size in TRIAL_SIZES))
    ms = {name: 1000 * statistics.median(each) for name, each in seconds.items()}
    return dict(sorted(ms.items(), key=lambda item: item[1]))


def best_batch_size(model: nn.Module, images: Tensor, rounds: int = 3) -> int:
    """Return the batch size with the least CPU time per image, of those for which there are images enough."""
    sizes = [size for size in BATCH_SIZES if size <= len(images)]
    seconds = [[seconds_per_image(model, images[:size]) for size in sizes] for _ in range(rounds)]
    median = [statistics.median(each) for each in zip(*seconds, strict=True)]
    return sizes[median.index(min(median))]


def run_passes(model: nn.Module, images: Tensor, batch_size: int) -> None:
    """Run forward passes alone."""
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            model(images[start : start + batch_size])


def seconds_per_image(model: nn.Module, images: Tensor, least: float = 0.05) -> float:
    """Return the CPU seconds per image of a forward pass with all *images*, repeated until it took *least* seconds."""
    with torch.inference_mode():
        model(images)
        seconds, repeats = 0.0, 0
        while seconds < least:
            seconds += cpu_seconds(lambda: model(images))
            repeats += 1
    return seconds / (repeats * len(images))
