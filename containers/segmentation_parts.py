"""The model of Segmentation2D and Segmentation3D: a U-Net, its loss, and what it writes about each case."""

from __future__ import annotations

import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, pad

from runner import InnerEyeInference, LightningModuleWithOptimizer, ModelExecutionMode
from runner.atomic_files import atomic_file
from runner.images import write_csv

log = logging.getLogger(__name__)

OVERLAY_SIZE = 288
"""Least side of a picture in pixels; images are enlarged to it in whole steps."""
TRUTH_COLOR, PREDICTION_COLOR = (0, 158, 255), (255, 130, 0)
"""Blue and orange, which most people with a colour deficiency tell apart."""


def dice(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 2 |P and T| / (|P| + |T|) of each item (Dice 1945), float (B,); 1 where both are empty.

    Args:
        predicted: (B, ...), bool, or probabilities for a value that has a gradient.
        true: (B, ...), bool or 0 and 1.
    """
    predicted, true = predicted.flatten(1).float(), true.flatten(1).float()
    total = predicted.sum(dim=1) + true.sum(dim=1)
    return torch.where(total > 0, 2 * (predicted * true).sum(dim=1) / total.clamp(min=1e-6), 1.0)


class UNet(nn.Module):
    """Ronneberger et al. 2015, arXiv:1505.04597, with padding and batch norm, for images and for volumes."""

    def __init__(self, num_dimensions: int, num_features: int, num_levels: int) -> None:
        super().__init__()
        features = [num_features * 2**level for level in range(num_levels)]
        self.down = nn.ModuleList(
            _block(num_dimensions, inputs, outputs) for inputs, outputs in zip([1, *features], features, strict=False)
        )
        self.up = nn.ModuleList(_block(num_dimensions, below + here, here) for here, below in pairwise(features))
        self.pool = (nn.MaxPool2d, nn.MaxPool3d)[num_dimensions - 2](2)
        self.last = _convolution(num_dimensions, num_features, 1, kernel_size=1)
        self.multiple = 2 ** (num_levels - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the score of each pixel before the sigmoid, (B, 1, ...), of *images* (B, 1, ...) of any size."""
        shape = images.shape[2:]
        missing = [-size % self.multiple for size in reversed(shape)]
        found = pad(images, [each for size in missing for each in (0, size)], mode="replicate")
        kept = []
        for level, block in enumerate(self.down):
            found = block(self.pool(found) if level else found)
            kept.append(found)
        found = kept.pop()
        for block in reversed(self.up):
            here = kept.pop()
            found = block(torch.cat([interpolate(found, size=here.shape[2:], mode="nearest"), here], dim=1))
        return self.last(found)[(..., *(slice(size) for size in shape))]


def _convolution(num_dimensions: int, inputs: int, outputs: int, kernel_size: int = 3) -> nn.Module:
    kind = (nn.Conv2d, nn.Conv3d)[num_dimensions - 2]
    return kind(inputs, outputs, kernel_size, padding=kernel_size // 2)


def _block(num_dimensions: int, inputs: int, outputs: int) -> nn.Sequential:
    norm = (nn.BatchNorm2d, nn.BatchNorm3d)[num_dimensions - 2]
    layers: list[nn.Module] = []
    for first in (inputs, outputs):
        layers += [_convolution(num_dimensions, first, outputs), norm(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class SegmentationModel(LightningModuleWithOptimizer, InnerEyeInference):
    """Trains on patches by ``training_step``; judges whole images by ``inference_step``, called by the runner."""

    def __init__(self, network: nn.Module, num_overlays: int) -> None:
        super().__init__()
        self.network, self.num_overlays = network, num_overlays

    def forward(self, images: Tensor) -> Tensor:
        """Return the score of each pixel before the sigmoid, (B, 1, ...), of *images*, (B, 1, ...)."""
        return self.network(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss to minimise."""
        return self._log_step("train", batch)

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log loss and Dice of the patches to validate on."""
        self._log_step("val", batch)

    def _log_step(self, part: str, batch: list[Tensor]) -> Tensor:
        images, masks = batch
        scores = self(images).float()
        # Dice of the whole batch: a patch without a pixel to outline has none of its own to learn from.
        soft = dice(scores.sigmoid().flatten()[None], masks.flatten()[None]).mean()
        loss = binary_cross_entropy_with_logits(scores, masks) + 1 - soft
        found = dice((scores > 0).flatten()[None], masks.flatten()[None]).mean()
        self.log_dict(
            {f"{part}_loss": loss, f"{part}_dice": found}, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True
        )
        return loss

    # --- inference on whole images: the runner calls these in this order --------------------------------------------

    def on_inference_start(self) -> None:
        """Begin."""
        self._dice: dict[str, float] = {}

    def get_inference_metrics(self) -> dict[str, float]:
        """Return the mean Dice of the whole images of each split."""
        return self._dice

    def on_inference_epoch_start(self, dataset_split: ModelExecutionMode, is_ensemble_model: bool) -> None:  # noqa: ARG002
        """Begin with a split."""
        self._split = dataset_split.value
        self._rows: list[tuple[int, float, int, int]] = []

    def get_inference_input(self, item: list[Tensor]) -> Tensor:
        """Return the image, without the mask."""
        return item[0]

    def inference_step(self, item: list[Tensor], batch_idx: int, model_output: Tensor) -> None:
        """Note the Dice of a case, and draw it."""
        image, mask = (each[0, 0].float().cpu() for each in item)
        found = (model_output[0, 0] > 0).cpu()
        value = dice(found[None], mask[None]).item()
        self._rows.append((batch_idx, value, int(mask.sum()), int(found.sum())))
        if batch_idx < self.num_overlays:
            folder = Path("segmentation") / self._split
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(folder / f"case_{batch_idx:03d}.png") as file:
                draw_outlines(image.numpy(), mask.bool().numpy(), found.numpy()).save(file, format="PNG")

    def on_inference_epoch_end(self) -> None:
        """Write the Dice of all cases of the split."""
        file = Path("segmentation") / f"dice_{self._split}.csv"
        file.parent.mkdir(exist_ok=True)
        write_csv(file, ("case", "dice", "true_pixels", "found_pixels"), self._rows)
        values = np.array([row[1] for row in self._rows])
        self._dice[f"{self._split.lower()}_image_dice"] = float(values.mean())
        log.info(
            "%s: Dice of %d whole images %.3f, the least %.3f; %s",
            self._split,
            len(values),
            values.mean(),
            values.min(),
            file,
        )


def draw_outlines(image: Any, true: Any, found: Any) -> Image.Image:
    """Draw an image with the outline of the truth in blue and of what was found in orange.

    Args:
        image: float (H, W); of a volume, (D, H, W), the slice with most of the truth is drawn, or else of the found.
        true: bool, of the same shape.
        found: bool, of the same shape.
    """
    if image.ndim == 3:
        place = (true if true.any() else found).sum(axis=(1, 2)).argmax()
        image, true, found = image[place], true[place], found[place]
    low, high = np.percentile(image, (1, 99.5))
    grey = (255 * ((image - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
    scale = math.ceil(OVERLAY_SIZE / max(grey.shape))
    picture = np.stack([_enlarged(grey, scale)] * 3, axis=2)
    for mask, color in ((true, TRUTH_COLOR), (found, PREDICTION_COLOR)):
        picture[_outline(_enlarged(mask, scale))] = color
    return Image.fromarray(picture)


def _enlarged(plane: Any, scale: int) -> Any:
    return plane.repeat(scale, axis=0).repeat(scale, axis=1)


def _outline(mask: Any) -> Any:
    """Return the pixels of a mask with a neighbour outside of it."""
    framed = np.pad(mask, 1)
    inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inside
