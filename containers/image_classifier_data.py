"""The data of ImageClassifier: which image is in which part, and how training images are changed."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import DataLoader, Dataset

from runner.errors import RunFailedError
from runner.images import ImageForm, ImageLibrary, ImageTable, report_unreadable, split_groups, write_csv
from runner.images.labels import quoted
from runner.shown import csv_line, printable

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
SPLIT_FILE = "split.csv"


@dataclass(frozen=True)
class Parts:
    """The readable images of a data set, and which are in which part."""

    library: ImageLibrary
    classes: list[str]
    numbers: dict[str, list[int]]
    """Numbers in the library of the images of each part."""

    def labels(self, part: str) -> list[int]:
        """Return the classes of a part's images."""
        return [self.library.images[number].label for number in self.numbers[part]]

    def balanced_weights(self) -> list[float]:
        """Return weights with which all classes count alike in training, 1 in the mean over the images."""
        counts = Counter(self.labels("train"))
        total = sum(counts.values())
        return [
            total / (len(self.classes) * counts[label]) if counts[label] else 1.0 for label in range(len(self.classes))
        ]


def read_parts(
    table: ImageTable,
    form: ImageForm,
    *,
    cache_folder: Path | None,
    shares: tuple[float, float],
    seed: int,
    fold: int | None,
    num_folds: int,
    may_leave_out: bool,
) -> Parts:
    """Divide the images of *table*, read them, and write down both in the working directory.

    The split is made before any image is read, so that one that cannot be read changes nothing for the others. Where
    ``split.csv`` is there, because the run is resumed, its parts stay: no image that was trained on is tested.

    Args:
        table: The images.
        form: What they are made into.
        cache_folder: Where they are kept; None: in memory.
        shares: Share of validation and of test.
        seed: Seed of the split.
        fold: Which fold of a cross validation is validated on; None: no cross validation. The test part is the same in
            all folds.
        num_folds: Number of folds.
        may_leave_out: Whether images that cannot be read are left out.

    Raises:
        RunFailedError: images cannot be read, a part has none, or they are not those of ``split.csv`` any more.
    """
    file = Path.cwd() / SPLIT_FILE
    parts = _recorded_parts(file, table) if file.is_file() else _new_parts(table, shares, seed, fold, num_folds)
    library = ImageLibrary(table.images, form, cache_folder)
    reasons = library.load()
    report_unreadable(table.images, reasons, Path.cwd(), may_leave_out=may_leave_out)
    rows = [
        (part, image.name, image.frame, table.classes[image.label], image.group)
        for number, (part, image) in enumerate(zip(parts, table.images, strict=True))
        if part and number not in reasons
    ]
    write_csv(file, ("part", "image", "slice", "label", "group"), rows)
    numbers = {
        part: [number for number in np.flatnonzero(parts == part).tolist() if number not in reasons] for part in PARTS
    }
    found = Parts(library, table.classes, numbers)
    _check_and_tell(found)
    return found


def _new_parts(table: ImageTable, shares: tuple[float, float], seed: int, fold: int | None, num_folds: int) -> Any:
    labels = [image.label for image in table.images]
    groups = [image.group for image in table.images]
    val, test = shares
    if fold is None:
        return np.array(PARTS, dtype=object)[split_groups(labels, groups, (1 - val - test, val, test), seed)]
    folds = split_groups(labels, groups, [(1 - test) / num_folds] * num_folds + [test], seed)
    return np.where(folds == num_folds, "test", np.where(folds == fold, "val", "train"))


def _recorded_parts(file: Path, table: ImageTable) -> Any:
    """Return the part of each image as *file* has it, and "" for images that came later, with a warning."""
    with file.open(encoding="utf-8", newline="") as opened:
        recorded = {(row["image"], row["slice"]): row for row in csv.DictReader(opened)}
    parts, new = [], []
    for image in table.images:
        frame_text = "" if image.frame is None else str(image.frame)
        fields = csv_line([image.name, frame_text, table.classes[image.label], image.group])
        name, frame, label, group = next(csv.reader(io.StringIO(fields, newline="")))
        row = recorded.pop((name, frame), None)
        if row is not None and (row["label"], row["group"]) != (label, group):
            raise RunFailedError(
                f"{quoted(name)} had label {quoted(row['label'])} and patient {quoted(row['group'])} when the run "
                f"began, and has {quoted(label)} and {quoted(group)} now: start a new run."
            )
        parts.append(row["part"] if row is not None else "")
        new += [] if row is not None else [name]
    if recorded:
        raise RunFailedError(f"{_some([name for name, _ in recorded])} of {file.name} are gone: start a new run.")
    if new:
        log.warning("%s not in %s, which this run began with: left out", _some(new), file.name)
    return np.array(parts, dtype=object)


def _some(names: list[str]) -> str:
    return f"{len(names)} images ({', '.join(map(quoted, names[:5]))}{', ...' if names[5:] else ''})"


def _check_and_tell(parts: Parts) -> None:
    for part in PARTS:
        counts = Counter(parts.labels(part))
        if not counts:
            groups = len({image.group for image in parts.library.images})
            raise RunFailedError(
                f"No image is in the {part} part: there are {len(parts.library.images)} images of {groups} patients in "
                f"{len(parts.classes)} classes; needed is at least one patient for each part, and for each fold."
            )
        log.info(
            "%-5s %d images: %s",
            part,
            sum(counts.values()),
            _listed([f"{printable(name, 60)} {counts[label]}" for label, name in enumerate(parts.classes)]),
        )
        missing = [printable(name, 60) for label, name in enumerate(parts.classes) if not counts[label]]
        if missing:
            log.warning("no image of %s is in the %s part: too few patients have it", _listed(missing), part)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:12])}{f' and {len(names) - 12} more classes' if names[12:] else ''}"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images that leave their class as it is."""

    flips: str
    """``none``, ``horizontal`` or ``both``."""
    rotation: float
    """Greatest angle in degrees, either way."""
    color: float
    """Greatest relative change of contrast and of each colour, and greatest change of brightness."""

    def __call__(self, images: Tensor, seeds: list[tuple[int, ...]]) -> Tensor:
        """Return changed images, float (B, C, H, W) from 0 to 1; what happens to each follows from its seed alone."""
        draws = np.stack([np.random.default_rng(seed).uniform(-1, 1, 5 + images.shape[1]) for seed in seeds])
        draws = torch.as_tensor(draws, dtype=images.dtype, device=images.device)
        ones = torch.ones_like(draws[:, 0])
        mirrored = torch.where(draws[:, 0] < 0, -ones, ones) if self.flips != "none" else ones
        upside_down = torch.where(draws[:, 1] < 0, -ones, ones) if self.flips == "both" else ones
        angle = draws[:, 2] * math.radians(self.rotation)
        rows = torch.stack([mirrored * angle.cos(), -mirrored * angle.sin(), 0 * ones], dim=1)
        columns = torch.stack([upside_down * angle.sin(), upside_down * angle.cos(), 0 * ones], dim=1)
        grid = affine_grid(torch.stack([rows, columns], dim=1), list(images.shape), align_corners=False)
        moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        contrast = (1 + self.color * draws[:, 3])[:, None, None, None]
        brightness = (self.color * draws[:, 4] / 2)[:, None, None, None]
        tint = (1 + self.color * draws[:, 5:] / 2)[:, :, None, None]
        return ((moved - 0.5) * contrast * tint + 0.5 + brightness).clamp(0, 1)


class _PartOfImages(Dataset):
    """The images of one part: image, float (C, H, W) from 0 to 1; class; number in the library; name and slice."""

    def __init__(self, library: ImageLibrary, numbers: list[int]) -> None:
        self.library, self.numbers = library, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[Tensor, int, int, str]:
        number = self.numbers[place]
        image, source = self.library[number], self.library.images[number]
        name = source.name if source.frame is None else f"{source.name} slice {source.frame}"
        values = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
        return torch.from_numpy(values).permute(2, 0, 1).contiguous(), source.label, number, name


class ImageData(pl.LightningDataModule):
    """Images in three parts; batches are (images, labels, numbers, names). Training images change on their device."""

    def __init__(self, parts: Parts, augmentation: Augmentation, batch_size: int, seed: int) -> None:
        super().__init__()
        self.parts, self.augmentation, self.seed = parts, augmentation, seed
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        """Return the images to train on, in a new order every epoch."""
        dataset = _PartOfImages(self.parts.library, self.parts.numbers["train"])
        # A last batch of one image has no statistics for batch norm.
        return DataLoader(dataset, self.batch_size, shuffle=True, drop_last=len(dataset) % self.batch_size == 1)

    def val_dataloader(self) -> DataLoader:
        """Return the images that decide which epoch is the best."""
        return DataLoader(_PartOfImages(self.parts.library, self.parts.numbers["val"]), self.batch_size)

    def test_dataloader(self) -> DataLoader:
        """Return the images that are tested and explained."""
        return DataLoader(_PartOfImages(self.parts.library, self.parts.numbers["test"]), self.batch_size)

    def on_after_batch_transfer(self, batch: list[Any], dataloader_idx: int) -> list[Any]:  # noqa: ARG002 - Lightning's
        """Change training images. Seeds are epoch and number: a resumed run changes them as the first would."""
        images, labels, numbers, names = batch
        if self.trainer is not None and self.trainer.training:
            epoch = self.trainer.current_epoch
            images = self.augmentation(images, [(self.seed, epoch, number) for number in numbers.tolist()])
        return [images, labels, numbers, names]
