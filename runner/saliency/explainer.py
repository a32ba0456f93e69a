"""The LightningModule that explains what the trained model inside it predicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from runner.errors import RunFailedError
from runner.saliency.checks import NOT_OF_SCORES, Checks
from runner.saliency.data import GIVE_UP_AFTER, Items
from runner.saliency.explanation import OK, Explanation, scaled_maps
from runner.saliency.fused import FusedStrategy
from runner.saliency.raw_maps import RawMaps, Strategy
from runner.saliency.strategies import create_strategy
from runner.saliency.targets import LabelError

if TYPE_CHECKING:
    from runner.container import LightningContainer

log = logging.getLogger(__name__)

_ODD = "the image has values that are not finite"


@dataclass(frozen=True)
class _Input:
    """One image to explain."""

    index: int
    image: Tensor
    label: int
    truth: NDArray[np.bool_] | None


class Explainer(LightningModule):
    """Wraps a trained model; ``predict_step`` makes maps instead of predictions.

    The trained model sees what it would see in training: the hooks for batches of its data module or its own run, and
    Lightning puts it on its device, in evaluation mode and without gradients.
    """

    def __init__(
        self,
        container: LightningContainer,
        model: LightningModule,
        data: LightningDataModule | None,
        on_explained: Callable[[Explanation], None],
        on_failed: Callable[[int, Exception], None],
    ) -> None:
        """Wrap *model*.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_`` methods.
            model: The trained model.
            data: Whose hooks for batches are called, where it overrides them.
            on_explained: Called with each explanation as soon as it is there.
            on_failed: Called with the number of each image that could not be explained, and the reason.
        """
        super().__init__()
        self.model = model
        self.items: Items | None = None
        """Which images the batches hold; to be set before ``Trainer.predict``."""
        self._container = container
        self._data = data
        self._on_explained = on_explained
        self._on_failed = on_failed
        self._num_explained = self._num_failed = 0
        self._first_error: Exception | None = None
        self._strategy: Strategy | None = None
        self._strategy_for: Items | None = None
        self._num_together = 1
        self._checks = Checks(container, model)

    @property
    def fast_agreement(self) -> float | None:
        """The least correlation of a fast map with the exact one, of the first images; None where all are exact."""
        agreement = self._strategy.agreement if isinstance(self._strategy, FusedStrategy) else []
        return min(agreement, default=None)

    def configure_model(self) -> None:
        """Call the model's hook."""
        self.model.configure_model()

    def setup(self, stage: str) -> None:
        """Call the model's hook."""
        self.model.setup(stage)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Call the hook of the data module or of the model."""
        return self._hooks("on_before_batch_transfer").on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Call the hook of the data module or of the model."""
        return self._hooks("transfer_batch_to_device").transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Call the hook of the data module or of the model."""
        return self._hooks("on_after_batch_transfer").on_after_batch_transfer(batch, dataloader_idx)

    def _hooks(self, name: str) -> Any:
        return self._data if self._data is not None and is_overridden(name, self._data) else self.model

    def predict_step(self, batch: Any, batch_idx: int) -> list[int]:
        """Explain the images of a batch that are not done yet; return their numbers.

        Raises:
            RunFailedError: one of the container's ``get_saliency_`` methods returned what cannot be explained.
        """
        del batch_idx
        assert self.items is not None, "set items before Trainer.predict"
        images = checked_images(self._container.get_saliency_images(batch))
        todo = self.items.take(len(images))
        if self._strategy_for is not self.items:
            self._num_together = getattr(self.items, "batch_size", None) or len(images)
        labels = [-1] * len(images)
        if self._container.saliency_method not in NOT_OF_SCORES:
            labels = _checked_labels(self._container.get_saliency_labels(batch), len(images))
        truths = _checked_truth(self._container.get_saliency_truth(batch), images)
        inputs = [
            _Input(index, images[place], labels[place], None if truths is None else truths[place])
            for place, index in todo
        ]
        finite = [each for each in inputs if each.image.isfinite().all()]
        odd = [each for each in inputs if not each.image.isfinite().all()]
        failed: list[tuple[_Input, Exception]] = [(each, ValueError(f"get_saliency_images: {_ODD}")) for each in odd]
        failed += self._explain_all(finite, self._container.get_saliency_queries(batch))
        self._num_explained += self.items.num_done
        for item, error in failed:
            self._first_error = self._first_error or error
            self._num_failed += 1
            self._on_failed(item.index, error)
        if self._num_failed >= GIVE_UP_AFTER:
            self.raise_if_all_failed()
        return [index for _, index in todo]

    def raise_if_all_failed(self) -> None:
        """Raise the first error where not one image can be explained: that is no matter of images."""
        if self._first_error is not None and self._num_failed > 1 and not self._num_explained:
            raise self._first_error

    def _explain_all(self, items: Sequence[_Input], queries: Tensor | None) -> list[tuple[_Input, Exception]]:
        """Explain images together; where one fails, the rest one by one. Return those that failed, and why."""
        if not items:
            return []
        images = torch.stack([item.image for item in items])
        if self._strategy is None or self._strategy_for is not self.items:
            # how many come together is told by the loader, not by what is missing: that changes last digits
            self._strategy = create_strategy(self._container, self.model, images, self._num_together)
            self._strategy_for = self.items
        explained = self._strategy.explain(images, [item.label for item in items], queries)
        for place, item in enumerate(items):
            try:
                raw = next(explained)
                explanation = explanation_of(item.index, item.image, raw, label=item.label, truth=item.truth)
                measures = self._checks.measures(explanation, item.image, raw.mean_mask)
            except LabelError as error:
                return self._failing(items, place, error, queries)
            except (RunFailedError, torch.OutOfMemoryError, torch.AcceleratorError):
                raise  # of the settings or of the device, not of one image
            except Exception as error:  # of the user's model or data, for this image or one that came with it
                return self._failing(items, place, error, queries)
            self._num_explained += 1
            self._on_explained(replace(explanation, measures=measures))
        return []

    def _failing(
        self, items: Sequence[_Input], place: int, error: Exception, queries: Tensor | None
    ) -> list[tuple[_Input, Exception]]:
        """Go on one by one from the image at *place*, whose maps or those of one after it raised."""
        if len(items) == 1:
            return [(items[0], error)]
        return [failed for each in items[place:] for failed in self._explain_all([each], queries)]


def explanation_of(
    index: int, image: Tensor, raw: RawMaps, *, label: int = -1, truth: NDArray[np.bool_] | None = None
) -> Explanation:
    """Scale the maps of an image, and warn of those that point nowhere.

    Args:
        index: The number of the image.
        image: float (C, *size).
        raw: Its maps.
        label: The true class; -1 where it is not known.
        truth: bool (*size), where the evidence truly lies; None where that is not known.
    """
    maps, strength, flags = scaled_maps(raw.maps)
    color_maps = color_strength = None
    if raw.color_maps is not None:
        scaled = [scaled_maps(each) for each in raw.color_maps]
        color_maps, color_strength = (
            np.stack([each.maps for each in scaled]),
            np.stack([each.strength for each in scaled]),
        )
    for target, flag in zip(raw.targets, flags, strict=True):
        if flag != OK:
            log.warning("saliency: the map of image %d for class %d is %s", index, target, str(flag).replace("_", " "))
    return Explanation(
        index=index,
        image=image.float().cpu().numpy(),
        maps=maps,
        strength=strength,
        flags=flags,
        targets=raw.targets,
        scores=raw.scores,
        label=label,
        truth=truth,
        color_maps=color_maps,
        color_strength=color_strength,
        num_masks=raw.num_masks,
        quality=raw.quality,
    )


def checked_images(images: Any) -> Tensor:
    """Return *images*, as ``get_saliency_images`` gave them.

    Raises:
        RunFailedError: they are not a float tensor (B, C, H, W) or (B, C, D, H, W).
    """
    wanted = (
        "not a float tensor (B, C, H, W) or (B, C, D, H, W). Override get_saliency_images to say where in a batch the "
        "images are."
    )
    if not isinstance(images, Tensor):
        raise RunFailedError(f"get_saliency_images returned {_kind(images)}, {wanted}")
    if images.ndim not in (4, 5) or not images.is_floating_point() or not images.numel():
        raise RunFailedError(f"get_saliency_images returned {images.dtype} {tuple(images.shape)}, {wanted}")
    return images


def _checked_labels(labels: Any, num_images: int) -> list[int]:
    if labels is None:
        return [-1] * num_images
    if not isinstance(labels, Tensor) or labels.shape != (num_images,):
        raise RunFailedError(
            f"get_saliency_labels returned {_kind(labels)}, not an int tensor ({num_images},) or None."
        )
    return [int(label) for label in labels]


def _checked_truth(truth: Any, images: Tensor) -> NDArray[np.bool_] | None:
    if truth is None:
        return None
    wanted = (len(images), *images.shape[2:])
    if not isinstance(truth, Tensor) or truth.shape != wanted:
        raise RunFailedError(f"get_saliency_truth returned {_kind(truth)}, not a bool tensor {wanted} or None.")
    array: NDArray[np.bool_] = truth.bool().cpu().numpy()
    return array


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
