"""The LightningModule that explains what the trained model inside it predicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from runner.errors import RunFailedError
from runner.saliency.classifier import Classifier, as_array
from runner.saliency.data import Items
from runner.saliency.explanation import OK, Explanation, scaled_maps
from runner.saliency.strategies import Strategy, create_strategy
from runner.saliency.targets import chosen_targets

if TYPE_CHECKING:
    from runner.container import LightningContainer

log = logging.getLogger(__name__)


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
    ) -> None:
        """Wrap *model*.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_`` methods.
            model: The trained model.
            data: Whose hooks for batches are called, where it overrides them.
            on_explained: Called with each explanation as soon as it is there.
        """
        super().__init__()
        self.model = model
        self.items: Items | None = None
        """Which images the batches hold; to be set before ``Trainer.predict``."""
        self._container = container
        self._data = data
        self._on_explained = on_explained
        self._strategy: Strategy | None = None

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
        """Explain the images of a batch that are not done yet, one after the other; return their numbers.

        Raises:
            RunFailedError: one of the container's ``get_saliency_`` methods returned what cannot be explained.
        """
        del batch_idx
        assert self.items is not None, "set items before Trainer.predict"
        images = checked_images(self._container.get_saliency_images(batch))
        todo = self.items.take(len(images))
        labels = _checked_labels(self._container.get_saliency_labels(batch), len(images))
        truths = _checked_truth(self._container.get_saliency_truth(batch), images)
        for place, index in todo:
            if not images[place].isfinite().all():
                raise RunFailedError(f"get_saliency_images: image {index} has values that are not finite.")
            truth = None if truths is None else truths[place]
            self._on_explained(self._explain(index, images[place], -1 if labels is None else labels[place], truth))
        return [index for _, index in todo]

    def _explain(self, index: int, image: Tensor, label: int, truth: NDArray[Any] | None) -> Explanation:
        if self._strategy is None:
            self._strategy = create_strategy(self._container, num_channels=len(image))
        array = as_array(image)
        classifier = Classifier(self._container, self.model, image)
        [scores] = classifier.score_each([array])
        targets = chosen_targets(self._container.saliency_targets, scores, label)
        classes = list(range(len(scores))) if self._strategy.every_class else targets
        raw = self._strategy.raw_maps(image, classifier, classes)
        raw = _maps_of(targets, raw, classes, array.shape[:2])
        explanation = Explanation(
            index=index,
            image=array.transpose(2, 0, 1),
            targets=np.array(targets, dtype=np.int64),
            scores=scores.astype(np.float32),
            label=label,
            truth=truth,
            **scaled_maps(raw),
        )
        for target, flag in zip(targets, explanation.flags, strict=True):
            if flag != OK:
                log.warning("saliency: the map of image %d for class %d is %s", index, target, flag.replace("_", " "))
        return explanation


def checked_images(images: Any) -> Tensor:
    """Return *images*, as ``get_saliency_images`` gave them.

    Raises:
        RunFailedError: they are not a float tensor (B, C, H, W).
    """
    wanted = "not a float tensor (B, C, H, W). Override get_saliency_images to say where in a batch the images are."
    if not isinstance(images, Tensor):
        raise RunFailedError(f"get_saliency_images returned {_kind(images)}, {wanted}")
    if images.ndim != 4 or not images.is_floating_point() or not images.numel():
        raise RunFailedError(f"get_saliency_images returned {images.dtype} {tuple(images.shape)}, {wanted}")
    return images


def _maps_of(targets: list[int], raw: NDArray[Any], classes: list[int], size: tuple[int, ...]) -> NDArray[Any]:
    """Return the maps of the targets, (T, H, W) or (k, T, H, W), out of those of all classes handed in."""
    if raw.shape == size:  # one map for all classes together
        return np.broadcast_to(raw, (len(targets), *size))
    if raw.ndim not in (3, 4) or raw.shape[-3:] != (len(classes), *size):
        raise RunFailedError(
            f"get_saliency_generator: the implementation made maps of shape {raw.shape} for {len(classes)} classes "
            f"and an image of {size[0]} x {size[1]} pixels."
        )
    return raw[..., [classes.index(target) for target in targets], :, :]


def _checked_labels(labels: Any, num_images: int) -> list[int] | None:
    if labels is None:
        return None
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
