"""The fused strategy: the engine with the container's model, in the format in which it is fastest."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.saliency.classifier import checked_scores
from runner.saliency.engine import Engine
from runner.saliency.fills import fill_of
from runner.saliency.forward_format import (
    Format,
    exact_arithmetic,
    exact_format,
    fast_format,
    full_precision,
    probed_batch_size,
)
from runner.saliency.incremental import incremental_format
from runner.saliency.perturbations import create_perturbation
from runner.saliency.quality import correlation
from runner.saliency.raw_maps import RawMaps

if TYPE_CHECKING:
    from runner.container import LightningContainer

log = logging.getLogger(__name__)

NUM_ENGINES = 4
"""Sizes of images whose masks are kept; the oldest makes room."""

NUM_COMPARED = 2
"""Images that are explained in both precisions, to say what the fast one gives away."""


class FusedStrategy:
    """Makes maps by :class:`~runner.saliency.engine.Engine`; one engine per size of image."""

    def __init__(self, container: LightningContainer, model: nn.Module, num_images: int) -> None:
        """Take what to explain.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_scores``.
            model: The trained model, in evaluation mode.
            num_images: Images that come together.
        """
        self.agreement: list[float] = []
        """With ``saliency_precision=fast`` the Pearson correlation of maps with the exact ones, of the first images."""
        self._container = container
        self._model = model
        self._num_images = num_images
        self._format: Format | None = None
        self._engines: dict[tuple[torch.Size, bool], Engine] = {}

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order; see :class:`~runner.saliency.raw_maps.Strategy`."""
        del queries
        if self._container.saliency_precision == "exact":
            with exact_arithmetic(images.device):
                yield from self._explained(images, labels, fast=False)
            return
        for place, raw in enumerate(self._explained(images, labels, fast=True)):
            if len(self.agreement) < NUM_COMPARED:
                self._compare(raw, images[place], labels[place])
            yield raw

    def _explained(self, images: Tensor, labels: Sequence[int], *, fast: bool) -> Iterator[RawMaps]:
        images = images.contiguous()
        return self._engine(images[:1], fast=fast).explain(images, (self._fill(image) for image in images), labels)

    def _fill(self, image: Tensor) -> Tensor:
        if self._container.saliency_method == "mc_rise":  # it has colours instead
            return image.new_zeros(())
        return fill_of(self._container.saliency_fill, image)

    def _engine(self, image: Tensor, *, fast: bool) -> Engine:
        """Return what explains images like *image*, (1, C, *size)."""
        container, key = self._container, (image.shape, fast)
        if key in self._engines:
            return self._engines[key]
        with full_precision(image.device):
            perturbation = create_perturbation(container, image[0])
        if self._format is None:
            self._format = exact_format(self._model, self._score, image)
        form = self._format
        batch_size = container.saliency_batch_size or probed_batch_size(form, self._score, image)
        if fast:
            form = fast_format(form, self._score, image.repeat(batch_size, *[1] * (image.ndim - 1)))
        while len(self._engines) >= NUM_ENGINES:
            self._engines.pop(next(iter(self._engines)))
        incremental = None
        if container.saliency_incremental and not (fast or perturbation.is_random):
            incremental = incremental_format(form, self._score, image, perturbation.masks, batch_size)
        engine = self._engines[key] = Engine(
            perturbation,
            functools.partial((incremental or form).scores, self._score),
            batch_size=batch_size,
            num_images=1 if incremental else self._num_images,
            targets=container.saliency_targets,
            centered=container.saliency_centered,
            target_quality=container.saliency_target_quality,
            expect=incremental.expect if incremental else None,
        )
        log.debug("saliency: %s, %s", (incremental or form).describe(), engine.schedule)
        return engine

    def _score(self, model: nn.Module, images: Tensor) -> Tensor:
        return checked_scores(self._container, model, images)

    def _compare(self, fast: RawMaps, image: Tensor, label: int) -> None:
        with exact_arithmetic(image.device):
            [exact] = self._explained(image[None], [label], fast=False)
        if fast.targets.tolist() == exact.targets.tolist():
            same = correlation(torch.from_numpy(fast.maps), torch.from_numpy(exact.maps))
            self.agreement.append(float(same.min()))
        else:
            self.agreement.append(0.0)
        log.info("saliency: fast maps correlate with exact ones by %.5f", self.agreement[-1])
