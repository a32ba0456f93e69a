"""Masks made on the device against those of xaitk-saliency."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.impls.perturb_image.random_grid import RandomGrid
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_radial import SlidingRadial
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow

from runner.saliency import masks as module
from runner.saliency.masks import (
    Draw,
    Masks,
    RadialMasks,
    WindowMasks,
    mc_rise_masks,
    random_grid_masks,
    rise_masks,
)

CPU = torch.device("cpu")
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def all_masks(masks: Masks) -> torch.Tensor:
    return masks.rows(1, masks.num_masks + 1)


def assert_equal(masks: Masks, expected: Any) -> None:
    """Compare all masks, one plane, with xaitk-saliency's (N, H, W)."""
    np.testing.assert_allclose(all_masks(masks)[:, 0].numpy(), np.asarray(expected, dtype=np.float32), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(size=sizes, s=st.integers(1, 12), p1=st.floats(0.05, 0.95), seed=st.integers(0, 2**32 - 1))
def test_rise(size: tuple[int, int], s: int, p1: float, seed: int) -> None:
    """The masks of RISE are those of RISEGrid with the same seed, for any size, also smaller than the grid."""
    expected = RISEGrid(n=7, s=s, p1=p1, seed=seed, threads=0).perturb(np.zeros((*size, 3)))
    assert_equal(rise_masks(Draw(7, s, p1, seed), size, CPU), expected)


@settings(max_examples=60, deadline=None)
@given(size=sizes, s=st.integers(1, 12), p1=st.floats(0.05, 0.95), seed=st.integers(0, 2**32 - 1))
def test_random_grid(size: tuple[int, int], s: int, p1: float, seed: int) -> None:
    """The masks of the random grid are those of RandomGrid."""
    expected = RandomGrid(n=7, s=(s, s), p1=p1, seed=seed, threads=0).perturb(np.zeros((*size, 3)))
    assert_equal(random_grid_masks(Draw(7, s, p1, seed), size, CPU), expected)


@settings(max_examples=40, deadline=None)
@given(size=sizes, s=st.integers(1, 9), num_colors=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_mc_rise(size: tuple[int, int], s: int, num_colors: int, seed: int) -> None:
    """The masks of MC-RISE are those of MCRISEGrid, 1 where hidden behind the colour."""
    expected = MCRISEGrid(n=5, s=s, p1=0.4, k=num_colors, seed=seed, threads=0).perturb(np.zeros((*size, 3)))
    made = all_masks(mc_rise_masks(Draw(5, s, 0.4, seed), num_colors, size, CPU))
    np.testing.assert_allclose(made.numpy(), 1 - expected.swapaxes(0, 1), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(size=sizes, window=st.integers(1, 50), stride=st.integers(1, 50))
def test_windows_and_discs(size: tuple[int, int], window: int, stride: int) -> None:
    """Windows and discs are those of SlidingWindow and SlidingRadial, exactly."""
    image = np.zeros((*size, 3))
    windows, discs = WindowMasks(window, stride, size, CPU), RadialMasks(window, stride, size, CPU)
    assert np.array_equal(all_masks(windows)[:, 0], ~SlidingWindow((window, window), (stride, stride)).perturb(image))
    assert np.array_equal(all_masks(discs)[:, 0], ~SlidingRadial((window, window), (stride, stride)).perturb(image))


@pytest.mark.parametrize("make", [rise_masks, random_grid_masks])
def test_a_volume_of_one_slice_is_an_image(make: Any) -> None:
    """A volume of depth 1 has the masks of the image, in RISE exactly."""
    flat, deep = (make(Draw(20, 5, 0.5, 3), size, CPU) for size in ((30, 26), (1, 30, 26)))
    assert all_masks(deep).shape == (20, 1, 1, 30, 26)
    if make is rise_masks:
        assert torch.equal(all_masks(deep)[:, :, 0], all_masks(flat))


def test_volumes_are_hidden_along_three_axes() -> None:
    """Masks of volumes vary along each axis and show as much as asked for; windows are boxes."""
    masks = all_masks(rise_masks(Draw(400, 4, 0.3, 0), (12, 16, 20), CPU))[:, 0]
    assert masks.shape == (400, 12, 16, 20)
    assert masks.mean().item() == pytest.approx(0.3, abs=0.02)
    assert all(masks.diff(dim=axis).abs().max() > 0.1 for axis in (1, 2, 3))
    boxes = all_masks(WindowMasks(2, 2, (4, 6, 8), CPU))[:, 0]
    assert boxes.shape == (2 * 3 * 4, 4, 6, 8)
    assert torch.equal(boxes.sum(dim=0), torch.ones(4, 6, 8))
    assert torch.equal(boxes.sum(dim=(1, 2, 3)), torch.full((24,), 8.0))


@pytest.mark.parametrize(
    ("masks", "whole"),
    [
        (rise_masks(Draw(9, 4, 0.5, 0), (12, 12), CPU), 1),
        (mc_rise_masks(Draw(9, 4, 0.5, 0), 2, (12, 12), CPU), 0),
        (WindowMasks(4, 4, (12, 12), CPU), 0),
        (RadialMasks(4, 4, (12, 12), CPU), 0),
    ],
    ids=["rise", "mc_rise", "window", "radial"],
)
def test_rows_before_and_after_the_masks_leave_the_image_whole(masks: Masks, whole: int) -> None:
    """Row 0 is the whole image, and so is what fills up the last forward pass."""
    rows = masks.rows(0, masks.num_masks + 4)
    assert (rows[0] == whole).all()
    assert (rows[masks.num_masks + 1 :] == whole).all()
    assert torch.equal(rows[1 : masks.num_masks + 1], all_masks(masks))
    assert (masks.rows(masks.num_masks + 2, masks.num_masks + 5) == whole).all()


def test_masks_do_not_depend_on_how_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a table, in one block or in several, a mask is the same to the last bit."""
    draw, size = Draw(50, 6, 0.5, 1), (31, 29)
    table = rise_masks(draw, size, CPU)
    assert table._table is not None
    monkeypatch.setattr(module, "TABLE_BYTES", 0)
    streamed = rise_masks(draw, size, CPU)
    assert streamed._table is None
    blocks = torch.cat([streamed.rows(start, start + 7) for start in range(0, 56, 7)])[:51]
    assert torch.equal(blocks, streamed.rows(0, 51))
    assert torch.equal(blocks, table.rows(0, 51))
