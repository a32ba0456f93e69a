"""The networks of ImageClassifier: its own, and those of timm and MONAI."""

from __future__ import annotations

import importlib
import re
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn

from runner.errors import ParameterError, did_you_mean

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, with which the weights that timm has were trained."""

_MONAI_FAMILY = re.compile(r"DenseNet\d+|resnet\d+|SENet\d+|SEResNe(t|Xt)\d+")
"""MONAI's classifiers; efficientnet-b0 to -b8 are made in another way."""


def create_network(
    architecture: str, num_channels: int, num_classes: int, num_features: int, *, pretrained: bool
) -> nn.Module:
    """Return a network from images, (B, C, H, W), to one score per class, (B, K).

    Args:
        architecture: ``small``, ``timm/NAME`` or ``monai/NAME``.
        num_channels: C.
        num_classes: K.
        num_features: Channels of the first layer of ``small``.
        pretrained: Whether timm's trained weights are loaded.

    Raises:
        ParameterError: the package has no such classifier, or cannot be imported.
    """
    package, _, name = architecture.partition("/")
    if package == "timm":
        return _from_timm(name, num_channels, num_classes, pretrained)
    if package == "monai":
        return _from_monai(name, num_channels, num_classes)
    return SmallNetwork(num_channels, num_classes, num_features)


def _from_timm(name: str, num_channels: int, num_classes: int, pretrained: bool) -> nn.Module:
    timm = _import("timm", "timm")
    if name not in timm.list_models():
        raise ParameterError(f"architecture: timm has no {name!r}.{did_you_mean(name, timm.list_models(), 'timm/')}")
    return timm.create_model(name, pretrained=pretrained, in_chans=num_channels, num_classes=num_classes)


def _from_monai(name: str, num_channels: int, num_classes: int) -> nn.Module:
    nets = _import("monai.networks.nets", "monai")
    if name.startswith("efficientnet-b"):
        known = [f"efficientnet-b{number}" for number in range(9)]
        makers = {each: partial(nets.EfficientNetBN, each, pretrained=False) for each in known}
    else:
        makers = {each: maker for each, maker in vars(nets).items() if _MONAI_FAMILY.fullmatch(each)}
    if name not in makers:
        raise ParameterError(f"architecture: MONAI has no classifier {name!r}.{did_you_mean(name, makers, 'monai/')}")
    inputs = "n_input_channels" if name.startswith("resnet") else "in_channels"
    outputs = "out_channels" if name.startswith("DenseNet") else "num_classes"
    return makers[name](spatial_dims=2, **{inputs: num_channels, outputs: num_classes})


def _import(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ParameterError(f"architecture: {package} cannot be imported: {error}.") from error


class SmallNetwork(nn.Module):
    """Seven convolutions in four stages, each half as wide and high, and twice as deep, as the one before."""

    def __init__(self, num_channels: int, num_classes: int, num_features: int) -> None:
        super().__init__()
        layers = _convolution(num_channels, num_features, kernel_size=5, stride=2)
        for stage in range(3):
            features = num_features * 2**stage
            layers += _convolution(features, features)
            layers += [nn.MaxPool2d(2), *_convolution(features, 2 * features)]
        self.stages = nn.Sequential(*layers)
        self.classes = nn.Linear(2 * 8 * num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores, (B, K), of images, (B, C, H, W), of any size from 16 pixels on."""
        found = self.stages(images)
        # The mean says how much of something there is, the maximum whether it is there at all: one small spot counts.
        return self.classes(torch.cat([found.mean(dim=(2, 3)), found.amax(dim=(2, 3))], dim=1))


def _convolution(num_inputs: int, num_outputs: int, kernel_size: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(num_inputs, num_outputs, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(num_outputs),
        nn.ReLU(),
    ]
