"""Small models with a known answer, and containers around them, for the tests of saliency."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from runner import LightningContainer
from runner.run_folder import RunFolder
from runner.run_state import Run
from runner.saliency.explanation import Explanation

REGION = (slice(4, 8), slice(9, 13))
"""Rows and columns that the RegionModel reads."""


class RegionModel(LightningModule):
    """Two classes; the score of class 1 depends on the mean over REGION and on nothing else."""

    def __init__(self, steepness: float = 8.0) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def forward(self, images: Tensor) -> Tensor:
        evidence = self.steepness * (images[:, :, REGION[0], REGION[1]].mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-evidence, evidence], dim=1)


class ConvModel(LightningModule):
    """A small network with random weights, on whose scores every pixel has its own influence."""

    def __init__(self, num_channels: int = 3, num_classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(num_channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.LazyLinear(num_classes),
        )
        self.network(torch.zeros(2, num_channels, 16, 16))
        with torch.no_grad():
            cast(Tensor, self.network[-1].weight).mul_(8)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


class Loaders(LightningDataModule):
    """A data module that has one loader for every split, made by a function after ``setup`` only."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make: Callable[[], Any] | None = None
        self._make = make
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)
        self.make = self._make

    def _loader(self) -> Any:
        assert self.make is not None, "setup was not called"
        return self.make()

    def train_dataloader(self) -> Any:
        return self._loader()

    def val_dataloader(self) -> Any:
        return self._loader()

    def test_dataloader(self) -> Any:
        return self._loader()


class Images(Dataset[Any]):
    """Images of random pixels, label 1 where REGION is bright; with the truth in the third place."""

    def __init__(self, number: int = 6, num_channels: int = 3, size: int = 16) -> None:
        generator = torch.Generator().manual_seed(7)
        self.images = torch.rand(number, num_channels, size, size, generator=generator) * 0.3
        self.labels = torch.arange(number) % 2
        self.truth = torch.zeros(number, size, size, dtype=torch.bool)
        for index in range(1, number, 2):
            self.images[index, :, REGION[0], REGION[1]] = 0.95
            self.truth[index, REGION[0], REGION[1]] = True
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        self.loaded.append(index)
        return self.images[index], self.labels[index], self.truth[index]


class Sample(LightningContainer):
    """A container with small settings, on the CPU."""

    def __init__(self, **values: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.accelerator = "cpu"
        self.saliency_method = "sliding_window"
        self.saliency_num_masks = 40
        self.saliency_grid_size = 4
        self.saliency_window_size = 4
        self.saliency_stride = 2
        self.saliency_batch_size = 16
        for name, value in values.items():
            setattr(self, name, value)

    def get_saliency_truth(self, batch: Any) -> Tensor | None:
        return batch[2] if isinstance(batch, list) and len(batch) > 2 else None


def make_run(
    path: Path,
    container: LightningContainer,
    data: LightningDataModule | Dataset[Any] | None = None,
    model: LightningModule | None = None,
) -> Run:
    """Return a run in *path*, of the RegionModel on Images where nothing else is given, in batches of 4."""
    dataset = data if isinstance(data, Dataset) else Images()
    module = data if isinstance(data, LightningDataModule) else Loaders(lambda: DataLoader(dataset, batch_size=4))
    path.mkdir(exist_ok=True)
    return Run(container, RunFolder(path), model or RegionModel(), module)


def rows_of(run: Run) -> list[dict[str, str]]:
    """Return the rows of the run's table of maps."""
    with (run.folder.saliency / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def make_explanation(index: int = 0, **values: Any) -> Explanation:
    """Return an explanation of an 8 x 8 image with one map, which peaks at row 2, column 3."""
    generator = np.random.default_rng(index)
    maps = generator.uniform(-0.5, 0.5, (1, 8, 8)).astype(np.float32)
    maps[0, 2, 3] = 1
    fields: dict[str, Any] = {
        "index": index,
        "image": generator.random((3, 8, 8), dtype=np.float32),
        "maps": maps,
        "strength": np.array([0.25], dtype=np.float32),
        "flags": np.array(["ok"]),
        "targets": np.array([1]),
        "scores": np.array([0.25, 0.75], dtype=np.float32),
        "label": 1,
    }
    return Explanation(**(fields | values))
