"""What a method does with a mask: hides part of an image behind it, and turns sums over masks into a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from runner.errors import RunFailedError
from runner.saliency.masks import (
    Draw,
    Masks,
    RadialMasks,
    WindowMasks,
    mc_rise_masks,
    random_grid_masks,
    rise_masks,
)
from runner.saliency.occlusion import fill_colors

if TYPE_CHECKING:
    from runner.container import LightningContainer


@dataclass
class Sums:
    """What is left of the masks m and scores f of an image: for T targets, with *planes* of masks.

    The scores are differences to a value per target, so that sums lose no digits.
    """

    weighted: Tensor
    """float32 (T, planes, *size): sum of f m."""
    covered: Tensor
    """float64 (planes, *size): sum of m."""
    total: Tensor
    """float32 (T,): sum of f."""
    count: int = 0
    """How many masks."""

    def add(self, weighted: Tensor, covered: Tensor, total: Tensor, count: int) -> None:
        """Add the sums over more masks."""
        self.weighted += weighted
        self.covered += covered
        self.total += total
        self.count += count

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over both sets of masks."""
        return Sums(
            self.weighted + other.weighted,
            self.covered + other.covered,
            self.total + other.total,
            self.count + other.count,
        )


class Perturbation:
    """A method in the steps that differ between methods."""

    is_random = True
    """Whether more masks make the map better, so that halves of them say how good it is."""
    is_difference = False
    """Whether the score's drop is summed, not the score."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def hide(self, image: Tensor, fill: Tensor, rows: Tensor, out: Tensor) -> None:
        """Write *image* behind masks into *out*.

        Args:
            image: float (C, *size).
            fill: float that broadcasts to the image.
            rows: Masks, float (n, planes, *size).
            out: float (n, C, *size).
        """
        raise NotImplementedError

    def maps(self, sums: Sums, offset: Tensor) -> Tensor:
        """Return maps with their strength, whose unit :class:`~runner.saliency.scoring.RawScoring` tells.

        Args:
            sums: Of the masks.
            offset: float (T,), what to add to each score that was summed.

        Returns:
            float (T, *size), or (k, T, *size) from MC-RISE.
        """
        raise NotImplementedError


class Revealing(Perturbation):
    """RISE: by how much the mean score is higher where the pixel is visible.

    Petsiuk et al. 2018, arXiv:1806.07421, eq. 6, with p subtracted from the masks as xaitk-saliency does.
    """

    def __init__(self, masks: Masks, probability: float) -> None:
        super().__init__(masks)
        self.probability = probability

    def hide(self, image: Tensor, fill: Tensor, rows: Tensor, out: Tensor) -> None:
        """Mix image and fill; 1 is visible."""
        torch.lerp(fill, image, rows.to(out.dtype), out=out)

    def maps(self, sums: Sums, offset: Tensor) -> Tensor:
        """Return ``sum (f + offset) (m - p) / (N p)``."""
        p, each = self.probability, (...,) + (None,) * len(self.masks.size)
        signal = sums.weighted[:, 0] - p * sums.total[each]
        bias = (sums.covered[0] - p * sums.count).float() * offset[each]
        return (signal + bias) / (sums.count * p)


class Occluding(Perturbation):
    """Windows, discs: the mean drop of the score while a pixel is hidden (Zeiler and Fergus 2014, arXiv:1311.2901)."""

    is_random = False
    is_difference = True

    def hide(self, image: Tensor, fill: Tensor, rows: Tensor, out: Tensor) -> None:
        """Mix fill and image; 1 is hidden."""
        torch.lerp(image, fill, rows.to(out.dtype), out=out)

    def maps(self, sums: Sums, offset: Tensor) -> Tensor:
        """Return the mean of ``f`` over the masks that hide a pixel, 0 where none does."""
        del offset
        return sums.weighted[:, 0] / sums.covered[0].clamp(min=1).float()


class Recoloring(Perturbation):
    """MC-RISE (Hatakeyama et al. 2020, ACCV): by how much the mean score is higher where a pixel has a colour.

    As xaitk-saliency's ``MCRISEScoring`` has it, with p1 and 1 - p1 exchanged; see
    :class:`~runner.saliency.scoring.RawScoring`.
    """

    def __init__(self, masks: Masks, probability: float, colors: Tensor) -> None:
        super().__init__(masks)
        self.probability = probability
        self.colors = colors

    def hide(self, image: Tensor, fill: Tensor, rows: Tensor, out: Tensor) -> None:
        """Mix the image and the colours; 1 is hidden behind the plane's colour."""
        del fill
        rows = rows.to(out.dtype)
        torch.mul(image, 1 - rows.sum(dim=1, keepdim=True), out=out)
        out += torch.einsum("nkhw,kc->nchw", rows, self.colors)

    def maps(self, sums: Sums, offset: Tensor) -> Tensor:
        """Return ``sum (f + offset) (k (1 - p) h - p v) / (N p (1 - p))``, with h hidden by the colour, v visible."""
        p, k = self.probability, self.masks.num_planes
        total, covered = sums.total[:, None, None, None], sums.covered.float()
        signal = k * (1 - p) * sums.weighted - p * (total - sums.weighted.sum(dim=1, keepdim=True))
        bias = k * (1 - p) * covered - p * (sums.count - covered.sum(dim=0))
        maps = signal + bias * offset[:, None, None, None]
        return maps.transpose(0, 1) / (sums.count * p * (1 - p))


def create_perturbation(container: LightningContainer, image: Tensor) -> Perturbation:
    """Return the container's ``saliency_method`` for images of the size of *image*, (C, *size).

    Raises:
        RunFailedError: the method cannot be used for such images.
    """
    method = container.saliency_method
    if image.ndim != 3 and method in ("mc_rise", "sliding_radial"):
        raise RunFailedError(
            f"saliency_method={method} explains images (B, C, H, W), and get_saliency_images returned volumes. Use "
            "rise, random_grid or sliding_window."
        )
    return _PERTURBATIONS[method](container, image)


def _rise(container: LightningContainer, image: Tensor) -> Perturbation:
    draw = draw_of(container)
    return Revealing(rise_masks(draw, tuple(image.shape[1:]), image.device), draw.p1)


def _random_grid(container: LightningContainer, image: Tensor) -> Perturbation:
    draw = draw_of(container)
    return Revealing(random_grid_masks(draw, tuple(image.shape[1:]), image.device), draw.p1)


def _mc_rise(container: LightningContainer, image: Tensor) -> Perturbation:
    draw, size = draw_of(container), tuple(image.shape[1:])
    colors = torch.from_numpy(fill_colors(container.saliency_fill, len(image))).to(image)
    return Recoloring(mc_rise_masks(draw, len(colors), size, image.device), draw.p1, colors)


def draw_of(container: LightningContainer) -> Draw:
    """Return what the container's random masks are drawn with."""
    return Draw(
        n=container.saliency_num_masks,
        s=container.saliency_grid_size,
        p1=container.saliency_mask_probability,
        seed=container.saliency_seed,
    )


def _sliding_window(container: LightningContainer, image: Tensor) -> Perturbation:
    window, stride = container.saliency_window_size, container.saliency_stride
    return Occluding(WindowMasks(window, stride, tuple(image.shape[1:]), image.device))


def _sliding_radial(container: LightningContainer, image: Tensor) -> Perturbation:
    radius, stride = container.saliency_window_size, container.saliency_stride
    return Occluding(RadialMasks(radius, stride, tuple(image.shape[1:]), image.device))


_PERTURBATIONS: dict[str, Callable[[LightningContainer, Tensor], Perturbation]] = {
    "rise": _rise,
    "random_grid": _random_grid,
    "mc_rise": _mc_rise,
    "sliding_window": _sliding_window,
    "sliding_radial": _sliding_radial,
}
