"""Values of pixels: what may be read, and how they become 0 to 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_PIXELS = 89_478_485
"""Pixels of one picture or slice: Pillow's limit for what may be a decompression bomb, 256 MB of colours."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message says why, without the name of the file."""


def check_pixels(height: int, width: int) -> None:
    """Refuse a picture that is empty, or so large that decoding it might take all memory.

    Raises:
        UnreadableImageError: it is.
    """
    if height < 1 or width < 1:
        raise UnreadableImageError("has no pixels")
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(
            f"has {width} x {height} pixels, more than {MAX_PIXELS}: may be a decompression bomb"
        )


def chosen_frame(frame: int | None, number: int, default: int) -> int:
    """Return which of *number* frames is meant.

    Raises:
        UnreadableImageError: there is no such frame.
    """
    chosen = default if frame is None else frame
    if not 0 <= chosen < number:
        raise UnreadableImageError(f"has {number} slices, counted from 0, so no slice {chosen}")
    return chosen


def scaled(values: Array, window: tuple[float, float] | None, full_range: tuple[float, float] | None = None) -> Array:
    """Bring values to 0 to 1.

    Args:
        values: (H, W) or (H, W, 3), any type of number; NaN becomes 0.
        window: Centre and width of the values that are told apart.
        full_range: What becomes 0 and 1 without a window; None: the least and the greatest value.

    Returns:
        float32 of the same shape.

    Raises:
        UnreadableImageError: no value is a finite number, or what is to be 0 and 1 is none.
    """
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise UnreadableImageError("holds no finite value")
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    elif full_range is not None:
        low, high = full_range
    else:
        low, high = float(values[finite].min()), float(values[finite].max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnreadableImageError(f"is to be shown from {low:g} to {high:g}, which no value lies between")
    if max(abs(low), abs(high)) > _FLOAT32_MAX / 4:
        values = values.astype(np.float64)  # the range is more than a float32 holds
    brought = (values - values.dtype.type(low)) / values.dtype.type((high - low) or 1)
    return np.asarray(np.nan_to_num(brought, nan=0, posinf=1, neginf=0).clip(0, 1), dtype=np.float32)
