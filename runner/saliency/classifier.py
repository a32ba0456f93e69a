"""The model as something that gives scores to images, checked and in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.errors import RunFailedError

if TYPE_CHECKING:
    from runner.container import LightningContainer

Array = NDArray[Any]

BATCH_SIZE = 64
"""Images per forward pass where ``saliency_batch_size`` leaves it open."""


@dataclass(frozen=True)
class Classifier:
    """The container's scores for images of the type and on the device of *like*."""

    container: LightningContainer
    model: nn.Module
    like: Tensor

    def scores(self, images: Tensor) -> Tensor:
        """Return the scores of *images*; see :func:`checked_scores`."""
        return checked_scores(self.container, self.model, images)

    def score_each(self, images: Iterable[Array]) -> Iterator[Array]:
        """Yield the scores of each image, float (K,), from forward passes of ``saliency_batch_size`` images.

        Args:
            images: float32 (H, W, C) each; taken from their iterator as they are needed.

        Raises:
            RunFailedError: ``get_saliency_scores`` returned something that is no scores.
        """
        iterator = iter(images)
        while batch := list(islice(iterator, self.container.saliency_batch_size or BATCH_SIZE)):
            tensor = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).contiguous()
            yield from self.scores(tensor.to(self.like.device, self.like.dtype)).cpu().numpy()


def checked_scores(container: LightningContainer, model: nn.Module, images: Tensor) -> Tensor:
    """Return the container's scores of *images*, (B, C, *size): float32 or float64 (B, K).

    Raises:
        RunFailedError: ``get_saliency_scores`` returned something else.
    """
    scores: Any = container.get_saliency_scores(model, images)
    wanted = f"a float tensor ({len(images)}, number of classes)"
    if not isinstance(scores, Tensor):
        raise RunFailedError(f"get_saliency_scores returned a {type(scores).__name__}, not {wanted}.")
    if scores.ndim != 2 or len(scores) != len(images) or not scores.shape[1] or not scores.is_floating_point():
        raise RunFailedError(
            f"get_saliency_scores returned {scores.dtype} {tuple(scores.shape)} for {len(images)} images, not {wanted}."
        )
    return scores.detach().to(torch.promote_types(scores.dtype, torch.float32))


def as_array(image: Tensor) -> Array:
    """Return an image (C, H, W) as xaitk-saliency takes it: float32 (H, W, C)."""
    return np.ascontiguousarray(image.detach().permute(1, 2, 0).float().cpu().numpy())
