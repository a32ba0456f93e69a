"""Small pictures for the gallery, as text that stands in the page: image, map, and the outline of the truth."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runner.saliency.colors import color_of, displayed
from runner.saliency.explanation import Explanation
from runner.saliency.pictures import cut, slice_of

Array = NDArray[Any]

MOST_BYTES = 4500
"""Of one picture, before it is written as text; the first of these sizes and qualities that needs less is taken."""

_TRIES = ((176, 80), (160, 70), (144, 55), (112, 45), (80, 30), (48, 15))

PIXELATED = 48
"""Smaller images are shown in squares, not blurred."""

_PAD = 4
_BLUR = 1.3
"""Pixels: standard deviation of what smooths an outline."""

_MOST_OUTLINE = 3000
"""Characters of an outline; coarser ones are shorter."""


@dataclass(frozen=True)
class Thumbnail:
    """The pictures of one image."""

    image: str
    """``data:`` URL."""
    overlay: str
    """``data:`` URL of the map in its colours, transparent where it is zero; empty for a map that points nowhere."""
    outline: str
    """The truth's edge: ``d`` of an SVG path in a box of *width* and *height*; empty where it is not known."""
    width: int
    height: int
    is_small: bool
    """Whether to show it in squares."""
    depth: int | None
    """Which slice of a volume it is."""


def thumbnail(explanation: Explanation, place: int, full: float) -> Thumbnail:
    """Draw an image and its map at *place* in ``targets``.

    Args:
        explanation: The image and its maps.
        place: Which map.
        full: The strength that has the full colour.
    """
    depth = slice_of(explanation, place)
    picture = displayed(cut(explanation.image, depth), explanation.image)
    height, width = picture.shape[:2]
    overlay = ""
    if not explanation.is_flagged(place):
        values = cut(explanation.maps[place], depth) * (explanation.strength[place] / full)
        overlay = _data_url(_colored(values))
    truth = None if explanation.truth is None else cut(explanation.truth, depth)
    outline = "" if truth is None or not truth.any() else _outline(truth)
    is_small = max(width, height) <= PIXELATED
    return Thumbnail(_data_url(Image.fromarray(picture)), overlay, outline, width, height, is_small, depth)


def _colored(values: Array) -> Image.Image:
    colors, alpha = color_of(np.nan_to_num(values))
    pixels = np.concatenate([colors, 255 * alpha[..., None]], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8), "RGBA")


def _data_url(picture: Image.Image) -> str:
    content = b""
    for size, quality in _TRIES:
        small = picture.copy()
        small.thumbnail((size, size), Image.Resampling.BOX)
        content = _webp(small, quality)
        if len(content) <= MOST_BYTES:
            break
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def _blur_of(mask: Array) -> float:
    """Return how much an outline is smoothed: less for small regions, which must not shrink."""
    return min(_BLUR, math.sqrt(float(mask.sum()) / math.pi) / 4)


def _smoothed(mask: Array, blur: float) -> Array:
    """Return a mask, float (H, W), in which stairs of single pixels along an edge are flat."""
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / blur) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        mask = np.apply_along_axis(np.convolve, axis, mask, kernel, mode="same")
    return mask


def _outline(truth: Array) -> str:
    """Return the edge of the truth, bool (H, W), as closed lines without the stairs that pixels make.

    By marching squares (Lorensen and Cline 1987), as scikit-image has them.
    """
    measure: Any = import_module("skimage.measure")  # late: it takes long to load
    padded = np.pad(truth, _PAD).astype(float)
    contours = measure.find_contours(_smoothed(padded, _blur_of(truth)), 0.5) or measure.find_contours(padded, 0.5)
    text = ""
    for tolerance in (0.05, 0.2, 0.6, 1.5, 4.0, 10.0):
        lines = [measure.approximate_polygon(each, tolerance) - (_PAD - 0.5) for each in contours]
        text = "".join(f"M{'L'.join(f'{x:.4g} {y:.4g}' for y, x in each)}Z" for each in lines if len(each) > 2)
        if len(text) <= _MOST_OUTLINE:
            break
    return text[:_MOST_OUTLINE].rpartition("Z")[0] + "Z" if text else ""
