"""Images, scores and methods for the tests of Captum's methods."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.saliency.raw_maps import RawMaps
from runner.saliency.white_box import WhiteBoxStrategy
from tests.saliency_samples import Sample

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
METHODS = ["integrated_gradients", "grad_cam", "occlusion"]


class Logits(Sample):
    """A container whose scores are the model's output."""

    def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
        output: Tensor = model(images)
        return output


def made(
    method: str, model: nn.Module, images: Tensor = IMAGES, kind: type[Sample] = Logits, **values: Any
) -> list[RawMaps]:
    """Return what the strategy makes inside Lightning's inference mode."""
    strategy = WhiteBoxStrategy(kind(saliency_method=method, **values), model.eval())
    with torch.inference_mode():
        inside = images.clone()
        return list(strategy.explain(inside, [-1] * len(inside), None))
