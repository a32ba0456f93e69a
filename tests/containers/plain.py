"""Small containers that train in a blink: a line through points."""

from pathlib import Path

import param
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from runner import LightningContainer, LightningModuleWithOptimizer


class Line(LightningModule):
    def __init__(self, l_rate: float = 0.05) -> None:
        super().__init__()
        self.l_rate = l_rate
        self.layer = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def forward(self, x):
        return self.layer(x)

    def _loss(self, batch, name):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self(x), y)
        self.log(f"{name}_loss", loss, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch, batch_idx):
        return self._loss(batch, "train")

    def validation_step(self, batch, batch_idx):
        self._loss(batch, "val")

    def test_step(self, batch, batch_idx):
        Path("test_step.txt").write_text(f"{Path.cwd()}\n")
        self._loss(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.l_rate)


class LineWithOptimizer(Line, LightningModuleWithOptimizer):
    configure_optimizers = LightningModuleWithOptimizer.configure_optimizers


class Points(LightningDataModule):
    def setup(self, stage):
        x = torch.linspace(-1, 1, 40).reshape(-1, 1)
        self.points = TensorDataset(x, 2 * x + 1)

    def train_dataloader(self):
        return DataLoader(self.points, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.points, batch_size=8)

    def test_dataloader(self):
        return DataLoader(self.points, batch_size=8)


class Plain(LightningContainer):
    """A line through points, with its own configure_optimizers."""

    num_layers = param.Integer(default=4, bounds=(1, 10), doc="Number of layers, unused.")

    def __init__(self):
        super().__init__()
        self.num_epochs = 2

    def create_model(self):
        return Line()

    def get_data_module(self):
        return Points()


class WithOptimizer(Plain):
    """A line through points, whose optimizer comes from the parameters."""

    def create_model(self):
        return LineWithOptimizer()
