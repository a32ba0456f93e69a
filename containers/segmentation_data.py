"""The data of Segmentation2D and Segmentation3D: made images with closed and open rings, as patches and as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Rings:
    """What made images look like; "ring" means a spherical shell in a volume."""

    shape: tuple[int, ...]
    radius: int
    """Greatest radius in pixels; the least is 0.6 of it."""
    noise: float

    def make(self, number: int, seed: tuple[int, ...]) -> TensorDataset:
        """Return images, float (N, 1, ...) around 0.3; and what to outline, float (N, 1, ...), 0 or 1."""
        cases = [self._make_case(np.random.default_rng([*seed, index])) for index in range(number)]
        images, masks = (torch.from_numpy(np.stack(each))[:, None] for each in zip(*cases, strict=True))
        return TensorDataset(images, masks)

    def _make_case(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Put up to two closed and up to two open rings where there is room."""
        image = 0.3 + self.noise * random.standard_normal(self.shape, dtype=np.float32)
        mask = np.zeros(self.shape, dtype=np.float32)
        taken: list[tuple[np.ndarray, float]] = []
        for is_closed in (True, True, False, False):
            radius = self.radius * random.uniform(0.6, 1)
            center = random.uniform(radius, np.array(self.shape) - radius)
            if any(np.linalg.norm(center - other) < radius + reach + 2 for other, reach in taken):
                continue
            taken.append((center, radius))
            offsets = np.stack(np.indices(self.shape)) - center.reshape(-1, *[1] * len(self.shape))
            distance = np.linalg.norm(offsets, axis=0)
            rim = np.clip(1.5 - np.abs(distance - radius + 1), 0, 1)
            if is_closed:
                mask[distance <= radius] = 1
            else:  # a third of it is missing, on a random side
                direction = random.standard_normal(len(self.shape))
                away = np.tensordot(direction / np.linalg.norm(direction), offsets, axes=1)
                rim[away > 0.33 * radius] = 0
            image += (0.4 * rim).astype(np.float32)
        return image, mask


class Patches(Dataset):
    """Patches at random places, drawn anew every time; half of them have a pixel of the mask in the middle."""

    def __init__(self, cases: TensorDataset, size: int, per_case: int) -> None:
        self.cases, self.size, self.per_case = cases, size, per_case

    def __len__(self) -> int:
        return len(self.cases) * self.per_case

    def __getitem__(self, place: int) -> tuple[Tensor, ...]:
        image, mask = self.cases[place // self.per_case]
        room = torch.tensor(mask.shape[1:]) - self.size
        corner = (torch.rand(len(room)) * (room + 1)).long()
        inside = mask[0].nonzero()
        if len(inside) and torch.rand(()) < 0.5:
            middle = inside[torch.randint(len(inside), (1,))[0]]
            corner = (middle - self.size // 2).clamp(min=0).minimum(room)
        where = (slice(None), *(slice(first, first + self.size) for first in corner.tolist()))
        return image[where], mask[where]


class WholeData(pl.LightningDataModule):
    """Whole images in three parts; batches are (images, masks) of one case, (1, 1, ...) each."""

    def __init__(self, rings: Rings, num_cases: int, seed: int) -> None:
        super().__init__()
        self.rings, self.num_cases, self.seed = rings, num_cases, seed

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning passes it
        """Make the images, the same ones for the same seed."""
        numbers = {"train": self.num_cases, "val": self.num_cases // 5, "test": self.num_cases // 5}
        self.cases = {part: self.rings.make(number, (self.seed, PARTS.index(part))) for part, number in numbers.items()}

    def train_dataloader(self) -> DataLoader:
        """Return the images whose patches are trained on."""
        return DataLoader(self.cases["train"])

    def val_dataloader(self) -> DataLoader:
        """Return the images whose patches decide which epoch is the best."""
        return DataLoader(self.cases["val"])

    def test_dataloader(self) -> DataLoader:
        """Return the images that are tested and explained."""
        return DataLoader(self.cases["test"])


class PatchData(WholeData):
    """Patches of the same images; batches are (images, masks), (B, 1, ...) each."""

    def __init__(
        self, rings: Rings, num_cases: int, seed: int, *, batch_size: int, patch_size: int, patches_per_case: int
    ) -> None:
        super().__init__(rings, num_cases, seed)
        self.batch_size, self.patch_size, self.patches_per_case = batch_size, patch_size, patches_per_case

    def train_dataloader(self) -> DataLoader:
        """Return patches at other places every epoch."""
        patches = Patches(self.cases["train"], self.patch_size, self.patches_per_case)
        return DataLoader(patches, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the same patches every epoch: those in the middle of the images."""
        first = (self.rings.shape[0] - self.patch_size) // 2
        where = (slice(None), slice(None), *[slice(first, first + self.patch_size)] * len(self.rings.shape))
        middle = TensorDataset(*(each[where] for each in self.cases["val"].tensors))
        return DataLoader(middle, self.batch_size)
