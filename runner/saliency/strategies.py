"""Which strategy makes the maps of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from runner.saliency.fused import FusedStrategy
from runner.saliency.raw_maps import Strategy
from runner.saliency.reference import ReferenceStrategy

if TYPE_CHECKING:
    from runner.container import LightningContainer


def create_strategy(container: LightningContainer, model: nn.Module, images: Tensor, num_together: int) -> Strategy:
    """Return what makes the maps for the container's ``saliency_`` parameters.

    Args:
        container: The container.
        model: The trained model, on its device and in evaluation mode.
        images: The first images, float (B, C, *size).
        num_together: Images that come together.

    Raises:
        RunFailedError: a ``saliency_`` parameter does not fit the images, or ``get_saliency_generator`` is wrong.
    """
    if container.saliency_method == "custom" or container.saliency_strategy != "fused":
        return ReferenceStrategy(container, model, num_channels=images.shape[1])
    return FusedStrategy(container, model, num_together)
