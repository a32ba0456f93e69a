"""Any number of small images made from a formula, and a model so small that all around it is measured."""

import param
import torch
from pytorch_lightning import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from runner import LightningContainer, LightningModuleWithOptimizer

SIZE = 28


def image(index):
    """Waves whose direction, and label, follow from the index: float32 (1, 28, 28) and an int."""
    label = index % 2
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    wave = torch.sin((row if label else column) * (0.3 + index % 97 / 97) + index % 89) + 0.1 * torch.cos(row * column)
    return wave[None], label


class Listed(Dataset):
    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return image(index)


class Streamed(IterableDataset):
    def __init__(self, number):
        self.number = number

    def __iter__(self):
        return map(image, range(self.number))


class Net(LightningModuleWithOptimizer):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


class ManyImages(LightningContainer):
    """Trains for a moment, and explains as many images as it is told."""

    num_images = param.Integer(default=1000, bounds=(1, None), doc="Images to explain.")
    streamed = param.Boolean(default=False, doc="Whether they come as a stream.")

    def __init__(self):
        super().__init__()
        self.num_epochs = 1
        self.logger = []
        self.saliency_method = "sliding_window"
        self.saliency_window_size = self.saliency_stride = 7
        self.saliency_checks = []
        self.saliency_shard_size = 1000
        self.saliency_overlays = 20

    def create_model(self):
        return Net()

    def get_data_module(self):
        data = LightningDataModule.from_datasets(Listed(64), batch_size=32)
        test = (Streamed if self.streamed else Listed)(self.num_images)
        data.test_dataloader = lambda: DataLoader(test, batch_size=64)
        return data
