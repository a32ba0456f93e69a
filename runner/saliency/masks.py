"""The masks of each method as plans: made on the model's device, block by block, equal to xaitk-saliency's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.draw import ellipse
from skimage.transform import resize
from torch import Tensor

Array = NDArray[Any]
Size = tuple[int, ...]
"""Height and width in pixels, or depth, height and width."""

TABLE_BYTES = 16 * 2**20
"""Masks that need no more memory than this are made once for all images."""


class Masks:
    """Masks over images of one size, rows of a matrix; each row is a function of its number and the settings alone.

    Row 0 leaves the image whole, so that its scores come out of the same forward pass as the others; row n holds mask
    n - 1 of xaitk-saliency. What is beyond the last one leaves the image whole too, to fill up a forward pass.
    """

    def __init__(self, num_masks: int, size: Size, device: torch.device, *, num_planes: int = 1) -> None:
        self.num_masks = num_masks
        self.size = size
        self.device = device
        self.num_planes = num_planes
        self._table: Tensor | None = None
        if (num_masks + 1) * num_planes * math.prod(size) * 4 <= TABLE_BYTES:
            self._table = self._rows(0, num_masks + 1)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the masks of rows *start* to *stop*, float32 (stop - start, num_planes, *size), from 0 to 1."""
        if self._table is not None and stop <= len(self._table):
            return self._table[start:stop]
        return self._rows(start, stop)

    def _rows(self, start: int, stop: int) -> Tensor:
        first, last = max(start, 1), min(stop, self.num_masks + 1)
        if (first, last) == (start, stop):
            return self._masks(first - 1, last - 1)
        rows = self._whole().expand(stop - start, -1, *self.size).clone()
        if first < last:
            rows[first - start : last - start] = self._masks(first - 1, last - 1)
        return rows

    def _masks(self, start: int, stop: int) -> Tensor:
        """Return masks *start* to *stop* as :meth:`rows` does."""
        raise NotImplementedError

    def _whole(self) -> Tensor:
        """Return the row that leaves the image whole, float32 (num_planes, *size)."""
        raise NotImplementedError


class GridMasks(Masks):
    """A small random grid per mask, enlarged and shifted at random: the masks of RISE and of the random grid.

    The grids and shifts are those of xaitk-saliency's ``RISEGrid`` and ``RandomGrid`` for the same seed. The enlarged
    grid is the product ``W_y G W_x^T`` of the grid with one matrix per axis, because linear interpolation is separable.
    The matrices are skimage's, whose "reflect" border is not the one of ``torch.nn.functional.interpolate``.
    1 is visible.
    """

    def __init__(self, grids: Array, shifts: Array, weights: Sequence[Array], size: Size, device: torch.device) -> None:
        """Take the tables.

        Args:
            grids: bool (N, planes, *grid size).
            shifts: int (N, axes), where in the enlarged grid the image begins.
            weights: For each axis float (length of the enlarged grid, length of the grid).
            size: Of the image.
            device: Where to make the masks.
        """
        self.grid_shape = grids.shape[2:]
        self._grids = torch.from_numpy(grids).to(device)
        self._shifts = torch.from_numpy(shifts).to(device)
        self._weights = [torch.from_numpy(each).to(device, torch.float32) for each in weights]
        self._places = [torch.arange(length, device=device) for length in size]
        super().__init__(len(grids), size, device, num_planes=grids.shape[1])

    def _masks(self, start: int, stop: int) -> Tensor:
        masks = self._grids[start:stop].float()
        for axis, (weights, places) in enumerate(zip(self._weights, self._places, strict=True)):
            own = weights[self._shifts[start:stop, axis, None] + places]  # (n, length of the image, length of the grid)
            masks = torch.einsum("npa...,nla->np...l", masks, own)  # the axis goes from the front to the end
        return masks.contiguous()

    def _whole(self) -> Tensor:
        return torch.ones(self.num_planes, *self.size, device=self.device)


class ColorMasks(GridMasks):
    """The masks of MC-RISE, equal to those of xaitk-saliency's ``MCRISEGrid``; one plane per colour.

    1 is hidden behind the colour of the plane.
    """

    def _masks(self, start: int, stop: int) -> Tensor:
        return 1 - super()._masks(start, stop)

    def _whole(self) -> Tensor:
        return torch.zeros(self.num_planes, *self.size, device=self.device)


class WindowMasks(Masks):
    """A window slid over the image, equal to xaitk-saliency's ``SlidingWindow``; 1 is hidden. Any number of axes."""

    def __init__(self, window: int, stride: int, size: Size, device: torch.device) -> None:
        self._axes = [torch.from_numpy(_windows(length, window, stride)).to(device) for length in size]
        self._counts = [len(axis) for axis in self._axes]
        super().__init__(math.prod(self._counts), size, device)

    def _masks(self, start: int, stop: int) -> Tensor:
        places = torch.unravel_index(torch.arange(start, stop, device=self.device), self._counts)
        masks = torch.ones(stop - start, 1, device=self.device)
        for axis, place in zip(self._axes, places, strict=True):
            rows = axis[place]
            masks = masks[..., None] * rows.view(len(rows), *[1] * (masks.ndim - 1), -1)
        return masks

    def _whole(self) -> Tensor:
        return torch.zeros(1, *self.size, device=self.device)


class RadialMasks(Masks):
    """A disc slid over the image, equal to xaitk-saliency's ``SlidingRadial``; 1 is hidden."""

    def __init__(self, radius: int, stride: int, size: Size, device: torch.device) -> None:
        height, width = size
        disc = np.zeros((2 * height - 1, 2 * width - 1), dtype=np.float32)
        disc[ellipse(height - 1, width - 1, radius, radius, shape=disc.shape)] = 1  # type: ignore[no-untyped-call]
        self._disc = torch.from_numpy(disc).to(device)
        self._centers = [torch.arange(0, length, stride, device=device) for length in size]
        self._places = [torch.arange(length, device=device) + length - 1 for length in size]
        super().__init__(math.prod(map(len, self._centers)), size, device)

    def _masks(self, start: int, stop: int) -> Tensor:
        numbers = torch.arange(start, stop, device=self.device)
        centers = torch.unravel_index(numbers, [len(each) for each in self._centers])
        rows, columns = (
            places - each[place][:, None]
            for places, each, place in zip(self._places, self._centers, centers, strict=True)
        )
        return self._disc[rows[:, :, None], columns[:, None, :]][:, None]

    def _whole(self) -> Tensor:
        return torch.zeros(1, *self.size, device=self.device)


@dataclass(frozen=True)
class Draw:
    """What random masks are drawn with; the names are those of xaitk-saliency's implementations."""

    n: int
    """How many masks."""
    s: int
    """Cells of the grid per side; pixels of a cell for the random grid."""
    p1: float
    """Probability that a cell is visible."""
    seed: int


def rise_masks(draw: Draw, size: Size, device: torch.device) -> Masks:
    """Return the masks of RISE (Petsiuk et al. 2018, arXiv:1806.07421), those of ``RISEGrid`` with the same values.

    A volume has a third axis, with as many cells as there are slices at most. So one of a single slice has the masks of
    the image.
    """
    cells, grid_shape = _rise_cells(draw.s, size)
    grids = np.random.default_rng(draw.seed).random((draw.n, 1, *grid_shape)) < draw.p1
    weights = [_enlarging(count, (count + 1) * cell) for count, cell in zip(grid_shape, cells, strict=True)]
    return GridMasks(grids, _rise_shifts(draw, cells), weights, size, device)


def mc_rise_masks(draw: Draw, num_colors: int, size: Size, device: torch.device) -> Masks:
    """Return the masks of MC-RISE (Hatakeyama et al. 2020, ACCV), those of ``MCRISEGrid`` with the same values."""
    cells, grid_shape = _rise_cells(draw.s, size)
    generator = np.random.default_rng(draw.seed)
    visible = generator.random((draw.n, *grid_shape)) < draw.p1
    colors = generator.integers(0, num_colors, size=visible.shape)
    grids = np.stack([visible | (colors != color) for color in range(num_colors)], axis=1)
    weights = [_enlarging(count, (count + 1) * cell) for count, cell in zip(grid_shape, cells, strict=True)]
    return ColorMasks(grids, _rise_shifts(draw, cells), weights, size, device)


def random_grid_masks(draw: Draw, size: Size, device: torch.device) -> Masks:
    """Return masks of cells of ``s`` pixels, those of ``RandomGrid`` with the same values."""
    lengths, cell = np.array(size), draw.s
    grid_shape = -(-lengths // cell) + 1
    grids = np.random.default_rng(draw.seed).random((draw.n, 1, *grid_shape)) < draw.p1
    center, reach = (grid_shape * cell - lengths) // 2, cell // 2
    shifts = np.zeros((draw.n, len(size)), dtype=np.int64)
    if reach:
        drawn = np.random.default_rng(draw.seed).integers(-reach, reach, size=shifts.shape)
        shifts = drawn[:, ::-1]  # xaitk-saliency draws x before y
    weights = [_enlarging(int(count), int(count) * cell) for count in grid_shape]
    return GridMasks(grids, center + shifts, weights, size, device)


def _rise_cells(grid_size: int, size: Size) -> tuple[list[int], Size]:
    """Return the length of a cell in pixels and the number of cells, both along each axis."""
    grid_shape = (*(min(grid_size, length) for length in size[:-2]), grid_size, grid_size)
    return [math.ceil(length / count) for length, count in zip(size, grid_shape, strict=True)], grid_shape


def _rise_shifts(draw: Draw, cells: Sequence[int]) -> Array:
    """Return the shifts, int64 (N, axes), from a second generator with the same seed, one mask after the other."""
    shifts: Array = np.random.default_rng(draw.seed).integers(0, np.tile(cells, (draw.n, 1)))
    return shifts


def _enlarging(length: int, enlarged: int) -> Array:
    """Return the matrix that enlarges an axis linearly, float64 (enlarged, length)."""
    matrix = resize(  # type: ignore[no-untyped-call]
        np.eye(length), (enlarged, length), order=1, mode="reflect", anti_aliasing=False
    )
    return np.asarray(matrix)


def _windows(length: int, window: int, stride: int) -> Array:
    """Return what each place of the window hides along one axis, float32 (places, length)."""
    starts = np.arange(0, length, stride)
    starts = starts - (window - (length - starts[-1])) // 2
    pixels = np.arange(length)
    hidden = (pixels >= starts[:, None]) & (pixels < starts[:, None] + window)
    return np.asarray(hidden, dtype=np.float32)
