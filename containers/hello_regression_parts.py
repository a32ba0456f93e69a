"""The data and the model of HelloRegression, apart from the container because they need torch and Lightning."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from runner import LightningModuleWithOptimizer


def make_points(number: int, noise: float, seed: int) -> TensorDataset:
    """Return a sine wave measured at random places, with errors of size *noise*: x and y, float (N, 1) each."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(number, 1, generator=random) - 1
    y = torch.sin(math.pi * x) + noise * torch.randn(number, 1, generator=random)
    return TensorDataset(x, y)


def read_points(file: Path) -> TensorDataset:
    """Return the points of a CSV file whose first line is ``x,y``: x and y, float (N, 1) each."""
    table = torch.from_numpy(np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.float32, ndmin=2))
    return TensorDataset(table[:, :1], table[:, 1:])


class CurveData(pl.LightningDataModule):
    """Points on a curve; batches are (x, y). Every fifth point is for the test, in all folds alike."""

    def __init__(self, points: TensorDataset, fold: int, num_folds: int, batch_size: int) -> None:
        super().__init__()
        self.points, self.fold, self.num_folds = points, fold, num_folds
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning passes it
        """Divide the points; each that is not for the test is for validation in exactly one fold."""
        indices = list(range(len(self.points)))
        test = indices[::5]
        rest = sorted(set(indices) - set(test))
        val = rest[self.fold :: self.num_folds]
        train = sorted(set(rest) - set(val))
        self.train, self.val, self.test = (TensorDataset(*self.points[part]) for part in (train, val, test))

    def train_dataloader(self) -> DataLoader:
        """Return the points to train on, in a new order every epoch."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the points that decide which epoch is the best."""
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the points that are tested."""
        return DataLoader(self.test, self.batch_size)


class CurveModel(LightningModuleWithOptimizer):
    """A network from one number to one number. What it inherits brings the optimizer."""

    def __init__(self, num_hidden: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(1, num_hidden), nn.Tanh(), nn.Linear(num_hidden, num_hidden), nn.Tanh(), nn.Linear(num_hidden, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (B, 1), for *x*, (B, 1)."""
        return self.network(x)

    def training_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss to minimise, the mean squared error, among other things."""
        return self._log_step("train", batch)

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log the errors after each epoch."""
        self._log_step("val", batch)

    def test_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Log the errors of the best epoch's model on points it has never seen; the runner evaluates the rest."""
        return self._log_step("test", batch)

    def _log_step(self, part: str, batch: list[Tensor]) -> dict[str, Tensor]:
        x, y = batch
        predicted = self(x)
        loss = mse_loss(predicted, y)
        metrics = {f"{part}_loss": loss, f"{part}_mae": l1_loss(predicted, y)}
        self.log_dict(metrics, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return {"loss": loss, "predictions": predicted, "targets": y}
