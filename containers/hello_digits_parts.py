"""The data and the model of HelloDigits, apart from the container because they need torch and Lightning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, TensorDataset

IMAGE_SIZE = 32
NUM_CLASSES = 10


def load_parts() -> dict[str, TensorDataset]:
    """Return the digits for ``train``, ``val`` and ``test``: images, float (N, 1, H, W) from 0 to 1; labels, int (N,).

    The split is the same in every run, whatever its seed, so that runs can be compared digit by digit.
    """
    images, labels = load_digits(return_X_y=True)
    indices = np.arange(len(labels))
    rest, test = train_test_split(indices, test_size=360, stratify=labels, random_state=0)
    train, val = train_test_split(rest, test_size=200, stratify=labels[rest], random_state=0)
    small = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)  # scikit-learn counts grey from 0 to 16
    large = interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
    classes = torch.tensor(labels)
    return {
        part: TensorDataset(large[chosen], classes[chosen])
        for part, chosen in (("train", train), ("val", val), ("test", test))
    }


class DigitsData(pl.LightningDataModule):
    """1797 handwritten digits in three fixed parts; batches are (images, labels)."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning passes it
        """Read the digits; they come with scikit-learn, nothing is downloaded."""
        self.parts = load_parts()

    def train_dataloader(self) -> DataLoader:
        """Return the digits to train on, in a new order every epoch."""
        return DataLoader(self.parts["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the digits that decide which epoch is the best."""
        return DataLoader(self.parts["val"], self.batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the digits that are tested and explained."""
        return DataLoader(self.parts["test"], self.batch_size)


def convolution(num_inputs: int, num_outputs: int) -> nn.Sequential:
    """Return a convolution that halves the size of the image."""
    return nn.Sequential(
        nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(num_outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class DigitsModel(pl.LightningModule):
    """A small convolutional network with one output per digit."""

    def __init__(self, num_channels: int, l_rate: float) -> None:
        super().__init__()
        self.l_rate = l_rate
        self.network = nn.Sequential(
            convolution(1, num_channels),  # 32 -> 16 pixels
            convolution(num_channels, 2 * num_channels),  # -> 8
            convolution(2 * num_channels, 4 * num_channels),  # -> 4
            nn.Flatten(),
            nn.Linear(4 * num_channels * 4 * 4, NUM_CLASSES),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the ten digits, (B, 10), for *images* from 0 to 1, (B, 1, H, W)."""
        return self.network(images)

    def training_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss to minimise, among other things."""
        return self._log_step("train", batch)

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log loss and accuracy after each epoch."""
        self._log_step("val", batch)

    def test_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Log loss and accuracy of the best epoch's model on data it has never seen; the runner evaluates the rest."""
        return self._log_step("test", batch)

    def _log_step(self, part: str, batch: list[Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        scores = self(images)
        loss = cross_entropy(scores, labels)
        accuracy = (scores.argmax(dim=1) == labels).float().mean()
        self.log(f"{part}_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        self.log(f"{part}_acc", accuracy, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return {"loss": loss, "logits": scores, "labels": labels}

    def configure_optimizers(self) -> Any:
        """Let the learning rate rise to *l_rate* and fall again, step by step over the whole training."""
        optimizer = torch.optim.Adam(self.parameters(), self.l_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.l_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
