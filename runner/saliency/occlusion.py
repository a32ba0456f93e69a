"""Parts of an image hidden behind a fill, in the model's input space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian
from xaitk_saliency.utils.masking import occlude_image_streaming

from runner.errors import RunFailedError

Array = NDArray[Any]
Fill = str | float | Sequence[float]
"""A value of ``saliency_fill``."""

BLUR_PART = 0.1
"""Standard deviation of the blur, as a part of the image's longer side: details smaller than that vanish."""


def occlude(image: Array, masks: Array, fill: Fill) -> Iterator[Array]:
    """Yield the image once per mask, hidden by *fill* where the mask is 0, one at a time.

    Args:
        image: float32 (H, W, C).
        masks: bool or float from 0 (hidden) to 1 (visible): (N, H, W), or one stack per colour, (k, N, H, W), for
            MC-RISE, whose colours *fill* then holds.
        fill: As :func:`fill_values` and :func:`fill_colors` take it.

    Yields:
        float32 (H, W, C), as ``xaitk_saliency.utils.masking.occlude_image_streaming`` and ``MCRISEStack`` make it.

    Raises:
        RunFailedError: the fill does not fit the channels of the image.
    """
    if masks.ndim == 4:
        return _recolor(image, masks, fill_colors(fill, image.shape[-1]))
    return occlude_image_streaming(image, masks, fill=cast(Any, fill_values(fill, image)))


def fill_values(fill: Fill, image: Array) -> Array | None:
    """Return what hides parts of *image*, float32 (H, W, C), as xaitk-saliency takes it.

    Args:
        fill: ``zero``; ``mean``, of each channel; ``blur``, the image after a Gaussian of a tenth of its longer side
            (Fong and Vedaldi 2017, arXiv:1704.03296, blur as well, with 10 pixels of 224); a number; or one number
            per channel.
        image: float32 (H, W, C).

    Returns:
        None for zero, else float32 (C,), or (H, W, C) for ``blur``. Always float32, because xaitk-saliency computes
        with other types in other precisions.

    Raises:
        RunFailedError: there is another number of values than of channels.
    """
    if fill == "zero":
        return None
    if fill == "mean":
        return np.asarray(image.mean(axis=(0, 1), dtype=np.float64), dtype=np.float32)
    if fill == "blur":
        sigma = BLUR_PART * max(image.shape[:2])
        blurred = gaussian(image, sigma, channel_axis=-1, preserve_range=True)  # type: ignore[no-untyped-call]
        return np.asarray(blurred, dtype=np.float32)
    colors = fill_colors(fill, image.shape[-1])
    if len(colors) != 1:
        raise RunFailedError(
            f"saliency_fill has {colors.size} numbers, but the images of get_saliency_images have {image.shape[-1]} "
            "channels: give one number, or one per channel."
        )
    return cast(Array, colors[0])


def fill_colors(fill: Fill, num_channels: int) -> Array:
    """Return the colours that *fill* stands for, float32 (k, C).

    Args:
        fill: A number, which is one colour with that value in each channel; or the colours one after the other, each
            with one number per channel.
        num_channels: C.

    Raises:
        RunFailedError: the numbers do not make whole colours.
    """
    if isinstance(fill, str):
        raise RunFailedError(f"saliency_fill must be numbers for MC-RISE, which explains by colours, not {fill}.")
    numbers = np.asarray(fill, dtype=np.float32)
    if numbers.ndim == 0:
        return np.full((1, num_channels), numbers)
    if numbers.size % num_channels:
        raise RunFailedError(
            f"saliency_fill has {numbers.size} numbers, but the images of get_saliency_images have {num_channels} "
            f"channels: give one number, or {num_channels} per colour."
        )
    return numbers.reshape(-1, num_channels)


def _recolor(image: Array, masks: Array, colors: Array) -> Iterator[Array]:
    """Do what ``MCRISEStack`` does between masks and classifier, without holding all fills, nor clipping to 0..255."""
    for color_masks in np.swapaxes(masks, 0, 1):
        hidden = 1 - color_masks
        visible = 1 - hidden.sum(axis=0)
        fill = np.zeros(image.shape)
        for one_hidden, color in zip(hidden, colors, strict=True):
            fill += one_hidden[..., None] * color
        yield (visible[..., None] * image + fill).astype(image.dtype)
