"""Networks of known size for the saliency benchmarks, with random weights and random batch-norm statistics."""

from __future__ import annotations

import itertools

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two convolutions and the way around them (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or num_in != num_out:
            self.downsample = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the two convolutions find to the input."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        around = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(y + around)
        return result


class ResNet18(LightningModule):
    """ResNet-18 for images of 224 x 224 pixels: 1.8 GMAC each."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        blocks = [BasicBlock(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, num_classes)
        randomize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


class SmallCNN(LightningModule):
    """Three convolutions with batch norm, for images of 64 or 28 pixels."""

    def __init__(self, num_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in ((num_channels, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(128, num_classes)
        randomize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class NotebookMLP(LightningModule):
    """The perceptron of xaitk-jatic's Lightning notebook: images of 3 x 32 x 32, two layers of 256, 855 K weights."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, num_classes)
        )
        randomize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(images)
        return logits


def randomize(model: nn.Module) -> None:
    """Give all batch norms statistics as after training, and switch to evaluation."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    model.eval()
