"""The strategies that leave the steps to xaitk-saliency: one image after the other, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.errors import RunFailedError
from runner.saliency.classifier import Classifier, as_array
from runner.saliency.high_level import HighLevelStrategy
from runner.saliency.low_level import LowLevelStrategy
from runner.saliency.methods import BlackBox, create_method
from runner.saliency.raw_maps import RawMaps, strongest_color
from runner.saliency.targets import chosen_targets

if TYPE_CHECKING:
    from runner.container import LightningContainer

Array = NDArray[Any]


class ReferenceStrategy:
    """Runs xaitk-saliency's own code, the low-level or the high-level way; any of its implementations fits in."""

    def __init__(self, container: LightningContainer, model: nn.Module, num_channels: int) -> None:
        """Make the method.

        A black box, which ``get_saliency_generator`` may return, knows only the high-level way.

        Raises:
            RunFailedError: a ``saliency_`` parameter does not fit the images, or ``get_saliency_generator`` is wrong.
        """
        self._container = container
        self._model = model
        method = create_method(container, num_channels)
        self._is_black_box = isinstance(method, BlackBox)
        self.steps: LowLevelStrategy | HighLevelStrategy
        if isinstance(method, BlackBox) or container.saliency_strategy == "high_level":
            self.steps = HighLevelStrategy(method)
        else:
            self.steps = LowLevelStrategy(method)

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order; see :class:`~runner.saliency.raw_maps.Strategy`."""
        del queries
        if images.ndim != 4:
            raise RunFailedError(
                f"get_saliency_images returned volumes, {tuple(images.shape)}; xaitk-saliency explains images "
                "(B, C, H, W) only. saliency_strategy=fused has rise, random_grid and sliding_window for volumes."
            )
        for image, label in zip(images, labels, strict=True):
            yield self._explain(image, label)

    def _explain(self, image: Tensor, label: int) -> RawMaps:
        array = as_array(image)
        classifier = Classifier(self._container, self._model, image)
        [scores] = classifier.score_each([array])
        targets = chosen_targets(self._container.saliency_targets, scores, label)
        classes = list(range(len(scores))) if self.steps.every_class else targets
        raw, num_masks = self.steps.raw_maps(image, classifier, classes)
        maps = _maps_of(targets, raw, classes, array.shape[:2])
        is_colored = maps.ndim == 4
        return RawMaps(
            maps=strongest_color(maps) if is_colored else maps,
            color_maps=maps if is_colored else None,
            scores=scores.astype(np.float32),
            targets=np.array(targets, dtype=np.int64),
            num_masks=num_masks,
        )


def _maps_of(targets: list[int], raw: Array, classes: list[int], size: tuple[int, ...]) -> Array:
    """Return the maps of the targets, (T, H, W) or (k, T, H, W), out of those of all classes handed in."""
    if raw.shape == size:  # one map for all classes together
        return np.broadcast_to(raw, (len(targets), *size))
    if raw.ndim not in (3, 4) or raw.shape[-3:] != (len(classes), *size):
        raise RunFailedError(
            f"get_saliency_generator: the implementation made maps of shape {raw.shape} for {len(classes)} classes "
            f"and an image of {size[0]} x {size[1]} pixels."
        )
    chosen: Array = raw[..., [classes.index(target) for target in targets], :, :]
    return chosen
