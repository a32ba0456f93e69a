"""The colours of saliency maps: signed values over a grey picture, zero is transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NEGATIVE = ((132, 190, 255), (30, 110, 245), (0, 60, 190))
POSITIVE = ((255, 214, 92), (248, 130, 22), (205, 44, 8))
"""From weak to strong: blue speaks against the class, yellow to red for it.

Blue against orange is the pair that people with any of the common colour deficiencies tell apart (Okabe and Ito 2008,
"Color Universal Design"); both sides grow darker with strength, so that the order stays without any colour.
"""

STRONGEST_ALPHA = 0.88

GREYS = (95, 235)
"""The darkest and the lightest grey under the colours."""


def color_of(values: Array) -> tuple[Array, Array]:
    """Return colour and opacity of signed values.

    Args:
        values: float, any shape; -1 and 1 have the full colour, what is beyond is clipped.

    Returns:
        The colours, float from 0 to 255, (..., 3), and the opacity, float from 0 to 1, (...); 0 for 0.
    """
    values = np.clip(values, -1, 1)
    size = np.abs(values)
    steps = np.linspace(0, 1, len(POSITIVE))
    colors = np.empty((*values.shape, 3))
    for channel in range(3):
        positive = np.interp(size, steps, [color[channel] for color in POSITIVE])
        negative = np.interp(size, steps, [color[channel] for color in NEGATIVE])
        colors[..., channel] = np.where(values < 0, negative, positive)
    return colors, STRONGEST_ALPHA * size


def blend(picture: Array, values: Array) -> Array:
    """Lay signed values over a picture.

    Args:
        picture: uint8 (H, W, 3).
        values: float (H, W), as :func:`color_of` takes them.

    Returns:
        uint8 (H, W, 3).
    """
    colors, alpha = color_of(values)
    blended = picture + (colors - picture) * alpha[..., None]
    return np.asarray(blended.round(), dtype=np.uint8)


def displayed(image: Array, whole: Array | None = None) -> Array:
    """Return an image in the colours that a screen shows.

    Args:
        image: float (C, H, W). Values from 0 to 1, or from 0 to 255, are taken as they are; any others, as after
            normalisation, are stretched from their minimum to their maximum.
        whole: float, any shape: what the image is a part of, whose values decide instead.

    Returns:
        uint8 (H, W, 3); grey, the mean over the channels, for another number of channels than 3.
    """
    whole = image if whole is None else whole
    low, high = float(whole.min()), float(whole.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scaled = (image - low) / ((high - low) or 1.0) * 255
    if len(scaled) != 3:
        scaled = np.repeat(scaled.mean(axis=0, keepdims=True), 3, axis=0)
    return np.asarray(scaled.round(), dtype=np.uint8).transpose(1, 2, 0)


def greyed(picture: Array) -> Array:
    """Return a picture, uint8 (H, W, 3), in light grey, so that colours on it stand for values.

    Its contrast is stretched to the whole range of greys, flat pictures by a factor of 4 at most.
    """
    luminance = picture @ np.array([0.299, 0.587, 0.114])
    low, high = np.percentile(luminance, (1, 99))
    low, span = min(low, (low + high) / 2 - 32), max(high - low, 64)
    darkest, lightest = GREYS
    grey = darkest + np.clip((luminance - low) / span, 0, 1) * (lightest - darkest)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)
