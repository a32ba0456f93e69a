"""Containers with a mistake in them."""

import time
from pathlib import Path

import param
import torch
from containers.plain import Plain, Points
from torch.utils.data import DataLoader, Dataset

from runner import LightningContainer


class Clash(LightningContainer):
    """Has a parameter with the name of an option of the program."""

    log_level = param.String(default="mine")


class HangingData(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index > 20:
            Path(self.marker).touch()
            time.sleep(10_000)
        return torch.ones(1), torch.ones(1)


class HangingModule(Points):
    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def train_dataloader(self):
        data = HangingData()
        data.marker = self.marker
        return DataLoader(data, batch_size=8)


class Hanging(Plain):
    """Its data never comes."""

    def __init__(self):
        super().__init__()
        self._marker = str(Path("hanging").absolute())

    def get_data_module(self):
        return HangingModule(self._marker)


class SlowSetup(Plain):
    """Takes very long to set up."""

    def __init__(self):
        super().__init__()
        self._marker = Path("setting_up").absolute()

    def setup(self):
        self._marker.touch()
        time.sleep(1000)
