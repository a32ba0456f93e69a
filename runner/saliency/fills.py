"""What hides parts of an image, on the device of the image and in the model's input space."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import gaussian
from torch import Tensor

from runner.errors import RunFailedError
from runner.saliency.forward_format import full_precision
from runner.saliency.occlusion import BLUR_PART, Fill, fill_colors


def fill_of(fill: Fill, image: Tensor) -> Tensor:
    """Return what hides parts of *image*.

    Args:
        fill: ``zero``; ``mean``, of each channel; ``blur``, the image after a Gaussian of a tenth of its longest side;
            a number; or one number per channel. In the space of *image*, which is the model's input: a grey of 128 in
            the raw picture is ``(128 / 255 - mean) / std`` here.
        image: float (C, *size).

    Returns:
        A tensor of the same type that broadcasts to the image.

    Raises:
        RunFailedError: there is another number of values than of channels.
    """
    with full_precision(image.device):
        return _fill_of(fill, image)


def _fill_of(fill: Fill, image: Tensor) -> Tensor:
    ones = (1,) * (image.ndim - 1)
    if fill == "zero":
        return image.new_zeros(1, *ones)
    if fill == "mean":
        return image.flatten(1).mean(dim=1, dtype=torch.float32).to(image.dtype).view(-1, *ones)
    if fill == "blur":
        return blurred(image, BLUR_PART * max(image.shape[1:]))
    colors = fill_colors(fill, len(image))
    if len(colors) != 1:
        raise RunFailedError(
            f"saliency_fill has {colors.size} numbers, but the images of get_saliency_images have {len(image)} "
            "channels: give one number, or one per channel."
        )
    return torch.from_numpy(colors[0]).to(image).view(-1, *ones)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Return *image*, float (C, *size), after a Gaussian with this standard deviation in pixels along each axis.

    Equal to ``skimage.filters.gaussian``: beyond the border the image goes on with its last pixels, and the Gaussian
    ends at four standard deviations.
    """
    result = image.float()
    for length in image.shape[1:]:
        matrix = torch.from_numpy(_blurring(length, sigma)).to(result.device)
        result = torch.einsum("ca...,la->c...l", result, matrix)  # the axis goes from the front to the end
    return result.to(image.dtype)


@functools.lru_cache(maxsize=16)
def _blurring(length: int, sigma: float) -> NDArray[Any]:
    matrix = gaussian(np.eye(length), (sigma, 0), mode="nearest")  # type: ignore[no-untyped-call]
    return np.asarray(matrix, dtype=np.float32)
