"""A training whose steps cost a few milliseconds, for tests/benchmarks/overhead.py."""

import json
import os
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from runner import LightningContainer


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
        )  # fmt: skip

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Images(LightningDataModule):
    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(1600, 3, 32, 32, generator=generator)
        self.data = TensorDataset(images, (images.mean(dim=(1, 2, 3)) > 0.5).long())

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=32, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=320)


class Clock(Callback):
    """Writes the seconds per training step, validation and checkpoints included, to $STEP_COST_FILE."""

    def on_train_start(self, trainer, pl_module):
        self.started = time.perf_counter()

    def on_train_end(self, trainer, pl_module):
        seconds = (time.perf_counter() - self.started) / trainer.global_step
        Path(os.environ["STEP_COST_FILE"]).write_text(json.dumps(seconds))


class StepCost(LightningContainer):
    """Fifty steps of a small CNN per epoch."""

    def create_model(self):
        return Net()

    def get_data_module(self):
        return Images()

    def get_callbacks(self):
        return [Clock()]
