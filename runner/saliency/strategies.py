"""Which strategy makes the maps of a container."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from xaitk_saliency.interfaces.gen_descriptor_sim_sal import GenerateDescriptorSimilaritySaliency
from xaitk_saliency.interfaces.gen_detector_prop_sal import GenerateDetectorProposalSaliency
from xaitk_saliency.interfaces.perturb_image import PerturbImage

from runner.saliency.detections import DetectionStrategy
from runner.saliency.fused import FusedStrategy
from runner.saliency.methods import custom_implementation
from runner.saliency.raw_maps import Strategy
from runner.saliency.reference import ReferenceStrategy
from runner.saliency.similarity import SimilarityStrategy
from runner.saliency.white_box import WhiteBoxStrategy

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
    method = container.saliency_method
    if method in _STRATEGIES:
        return _STRATEGIES[method](container, model)
    if method == "custom":
        match custom_implementation(container):
            case PerturbImage() as perturber, GenerateDetectorProposalSaliency() as scoring:
                return DetectionStrategy(container, model, (perturber, scoring))
            case PerturbImage() as perturber, GenerateDescriptorSimilaritySaliency() as scoring:
                return SimilarityStrategy(container, model, (perturber, scoring))
    if method == "custom" or container.saliency_strategy != "fused":
        return ReferenceStrategy(container, model, num_channels=images.shape[1])
    return FusedStrategy(container, model, num_together)


_STRATEGIES: dict[str, Callable[[LightningContainer, nn.Module], Strategy]] = {
    "drise": DetectionStrategy,
    "sbsm": SimilarityStrategy,
    "integrated_gradients": WhiteBoxStrategy,
    "grad_cam": WhiteBoxStrategy,
    "occlusion": WhiteBoxStrategy,
}
