"""Model and data of the sweep's guinea pig: quick, and failing, hanging or dying as its parameters say."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Quadratic(LightningModule):
    """One weight on its way to a minimum; a little dropout shows whether random states are the same."""

    def __init__(self, container):
        super().__init__()
        self.container_x = container.x
        self.l_rate = container.l_rate
        self.pause = container.pause
        self.brake = container.brake
        self.mode = container.mode
        self.folder = Path.cwd()
        self.layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))

    def _loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch, batch_idx):
        if not self.brake or (self.current_epoch > 0 and Path(self.brake).exists()):
            time.sleep(self.pause)
        self._misbehave()
        loss = self._loss(batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def _misbehave(self):
        if self.mode == "raise":
            raise ZeroDivisionError("as asked")
        if self.mode == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        marks = {"die once": "died.txt", "die each epoch": f"died_{self.current_epoch}.txt"}
        died = self.folder / marks.get(self.mode, "")  # the folder itself, which exists, in the other modes
        if not died.exists():
            died.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "leave":
            os._exit(0)
        if self.mode == "exit":
            sys.exit(0)
        if self.mode == "close":
            sys.stdout.close()
        if self.mode == "thread":
            threading.Thread(target=time.sleep, args=(1000,)).start()
        if self.mode == "hang":
            time.sleep(1000)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch))
        value = (self.container_x - 0.3) ** 2
        self.log("score", float("nan") if self.mode == "nan" else value)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self._loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.l_rate)


class Points(LightningDataModule):
    def __init__(self, batches):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(4 * batches, 4, generator=generator)
        self.points = TensorDataset(x, x.sum(dim=1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.points, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.points, batch_size=4)

    def test_dataloader(self):
        return DataLoader(self.points, batch_size=4)
