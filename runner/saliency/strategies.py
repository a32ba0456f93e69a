"""The ways to run a method; all of them give the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from runner.saliency.classifier import Classifier
from runner.saliency.high_level import HighLevelStrategy
from runner.saliency.low_level import LowLevelStrategy
from runner.saliency.methods import BlackBox, create_method

if TYPE_CHECKING:
    from runner.container import LightningContainer


class Strategy(Protocol):
    """How the maps of one image come about."""

    every_class: bool
    """Whether all classes must be handed to :meth:`raw_maps`, not only those to explain."""

    def raw_maps(self, image: Tensor, classifier: Classifier, classes: Sequence[int]) -> NDArray[Any]:
        """Return the maps of *image*, float (C, H, W), before they are scaled.

        Returns:
            float (len(classes), H, W); (H, W) where one map is for all classes; (k, len(classes), H, W) where there is
            one map per colour.
        """


def create_strategy(container: LightningContainer, num_channels: int) -> Strategy:
    """Return the container's ``saliency_strategy`` for images of *num_channels*.

    A black box, which ``get_saliency_generator`` may return, knows only the high-level way.

    Raises:
        RunFailedError: a ``saliency_`` parameter does not fit the images, or ``get_saliency_generator`` is wrong.
    """
    method = create_method(container, num_channels)
    if isinstance(method, BlackBox) or container.saliency_strategy == "high_level":
        return HighLevelStrategy(method)
    return LowLevelStrategy(method)
