"""The data and the model of HelloLesion, apart from the container because they need torch and Lightning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from skimage.data import retina
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from runner import LightningModuleWithOptimizer

PATCH_SIZE = 48
COLUMNS = {"train": (0, 430), "val": (430, 530), "test": (530, 705)}
"""Columns of the photograph at half size that each part of the data is cut from."""

BLOOD = np.array([0.5, 1, 1], dtype=np.float32)
"""How strongly blood darkens red, green and blue: a lesion has the colour of the vessels, as a bleeding has."""


@dataclass(frozen=True)
class Lesion:
    """What a planted lesion looks like: how much darker its middle is, from 0 to 1, and its radius in pixels."""

    contrast: float
    radius: int

    def plant(self, patch: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Darken a round spot of *patch*, float (H, W, 3), in place; return where it is, bool (H, W)."""
        row, column = random.integers(self.radius, PATCH_SIZE - self.radius, size=2)
        rows, columns = np.ogrid[:PATCH_SIZE, :PATCH_SIZE]
        distance = np.hypot(rows - row, columns - column) / self.radius
        # Full strength in the middle and none at the rim: a sharp edge would give the lesion away at any contrast.
        strength = random.uniform(0.5, 1) * self.contrast * np.clip(1.5 * (1 - distance), 0, 1)
        patch *= 1 - strength[:, :, None] * BLOOD
        return distance < 1


def make_patches(part: str, number: int, lesion: Lesion, seed: int) -> TensorDataset:
    """Cut patches from one part of the photograph and plant a lesion in every second one.

    Returns:
        images, float (N, 3, H, W) from 0 to 1; labels, int (N,), 1 for a lesion; masks of the lesions, bool (N, H, W).
    """
    photograph = retina()[::2, ::2].astype(np.float32) / 255
    first, end = COLUMNS[part]
    random = np.random.default_rng([seed, first])  # each part draws its own numbers, whatever the size of the others
    patches: list[np.ndarray] = []
    masks = np.zeros((number, PATCH_SIZE, PATCH_SIZE), dtype=bool)
    while len(patches) < number:
        row = random.integers(len(photograph) - PATCH_SIZE)
        column = random.integers(first, end - PATCH_SIZE)
        patch = photograph[row : row + PATCH_SIZE, column : column + PATCH_SIZE].copy()
        if patch[:, :, 0].min() < 0.3:  # the black surround of the eye
            continue
        if len(patches) % 2 == 1:
            masks[len(patches)] = lesion.plant(patch, random)
        patches.append(patch)
    images = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).contiguous()
    return TensorDataset(images, torch.arange(number) % 2, torch.from_numpy(masks))


class LesionData(pl.LightningDataModule):
    """Patches with and without a lesion; batches are (images, labels, masks)."""

    def __init__(self, lesion: Lesion, num_patches: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.lesion, self.num_patches, self.seed = lesion, num_patches, seed
        self.batch_size = batch_size  # as an attribute, so that --find_batch_size can change it

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning passes it
        """Make the patches: *num_patches* to train on, and a fifth as many to validate and to test on."""
        numbers = {"train": self.num_patches, "val": self.num_patches // 5, "test": self.num_patches // 5}
        self.parts = {part: make_patches(part, number, self.lesion, self.seed) for part, number in numbers.items()}

    def train_dataloader(self) -> DataLoader:
        """Return the patches to train on, in a new order every epoch."""
        return DataLoader(self.parts["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the patches that decide which epoch is the best."""
        return DataLoader(self.parts["val"], self.batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the patches that are tested and explained."""
        return DataLoader(self.parts["test"], self.batch_size)


class LesionModel(LightningModuleWithOptimizer):
    """A small convolutional network with two outputs: healthy, lesion. What it inherits brings the optimizer."""

    def __init__(self, num_layers: int, num_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(num_layers):
            layers += [
                nn.Conv2d(num_channels if index else 3, num_channels, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(num_channels),
                nn.ReLU(),
            ]
            if index < 2:  # 48 -> 24 -> 12 pixels, then the size stays, so that any number of layers fits
                layers.append(nn.MaxPool2d(2))
        # The maximum over the image, not the mean: one small spot is enough evidence for a lesion.
        self.network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(num_channels, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of healthy and lesion, (B, 2), for *images* from 0 to 1, (B, 3, H, W)."""
        # Colour and light change over the photograph and say nothing about lesions: take off the patch's average.
        return self.network(images - images.mean(dim=(2, 3), keepdim=True))

    def training_step(self, batch: list[Tensor]) -> dict[str, Any]:
        """Return the loss to minimise, among other things."""
        return self._log_step("train", batch)

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log loss and accuracy after each epoch."""
        self._log_step("val", batch)

    def test_step(self, batch: list[Tensor]) -> dict[str, Any]:
        """Log loss and accuracy of the best epoch's model on data it has never seen; the runner evaluates the rest."""
        return self._log_step("test", batch)

    def _log_step(self, part: str, batch: list[Tensor]) -> dict[str, Any]:
        images, labels, _ = batch
        scores = self(images)
        loss = cross_entropy(scores, labels)
        accuracy = (scores.argmax(dim=1) == labels).float().mean()
        self.log(f"{part}_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        self.log(f"{part}_acc", accuracy, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return {"loss": loss, "logits": scores, "labels": labels, "names": ["healthy", "lesion"]}
