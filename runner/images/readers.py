"""One image file to an array of the size that a model takes. Its content says what kind of file it is, not its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runner.images.medical import NIFTI_MAGIC, read_dicom, read_nifti
from runner.images.pixels import UnreadableImageError, check_pixels, chosen_frame, scaled
from runner.plain_text import clipped, escaped

Array = NDArray[Any]

_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_SAMPLE_FORMAT, _UNSIGNED = 339, 1
"""Tags of TIFF 6.0 and their values."""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class ImageForm:
    """What every image of a data set is made into."""

    size: int
    """Side of the square in pixels: the longer side of the image is scaled to it, the rest is black."""
    channels: int = 3
    """1 for grey, 3 for colour; grey images have three equal channels then."""
    window: tuple[float, float] | None = None
    """Centre and width of the values that become 0 to 1, in the units of the file (HU for CT); None: see docs/jobs.md.
    Pictures with 8 bits are left as they are."""


def read_image(path: Path, form: ImageForm, frame: int | None = None) -> Array:
    """Read a PNG, JPEG, TIFF, DICOM or NIfTI file.

    Args:
        path: The file.
        form: Size, channels and window.
        frame: Which slice of a NIfTI volume, frame of a DICOM file or page of a TIFF file, from 0. None: the middle
            slice or frame, the first page.

    Returns:
        (size, size, channels): uint8 for a file with 8 bits, else uint16; 0 is black, the greatest value of the type
        is white.

    Raises:
        UnreadableImageError: the file is missing, damaged, too large, or of another kind.
    """
    try:
        values = _values(path, form, frame)
    except UnreadableImageError:
        raise
    except ImportError as error:
        raise UnreadableImageError(f"needs {error.name}: pip install 'lightcase[medical]'") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        raise UnreadableImageError(_reason(error)) from error
    return _fitted(values, form)


def _values(path: Path, form: ImageForm, frame: int | None) -> Array:
    """Return (H, W) or (H, W, 3): uint8, or float32 from 0 to 1."""
    if not path.is_file():
        raise UnreadableImageError("is no file")
    with path.open("rb") as file:
        head = file.read(348)
    if not head:
        raise UnreadableImageError("is empty, 0 bytes")
    if head[128:132] == b"DICM":
        return read_dicom(path, form.window, frame)
    if head[344:348] in NIFTI_MAGIC or head[4:8] in NIFTI_MAGIC or head.startswith(_GZIP):
        return read_nifti(path, form.window, frame)
    return _read_picture(path, form, frame)


def _read_picture(path: Path, form: ImageForm, frame: int | None) -> Array:
    try:
        opened = Image.open(path, formats=_PILLOW_FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImageError("is no PNG, JPEG, TIFF, DICOM or NIfTI file, or its head is damaged") from None
    with opened as image:
        tags = getattr(image, "tag_v2", {})
        image.seek(chosen_frame(frame, getattr(image, "n_frames", 1), default=0))
        check_pixels(image.height, image.width)
        # A JPEG file can be decoded at a half, quarter or eighth of its size, which is what makes photographs slow.
        image.draft(None, (2 * form.size, 2 * form.size))
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I;16"):
            return _as_the_tags_say(scaled(np.asarray(turned), form.window, (0, 65535)), tags)
        if turned.mode in ("I", "F"):
            stored = np.asarray(turned)
            if turned.mode == "I" and tags.get(_SAMPLE_FORMAT, ()) == (_UNSIGNED,):  # Pillow takes them for signed
                stored = stored.view(np.uint32)
            return _as_the_tags_say(scaled(stored, form.window), tags)
        return np.asarray(turned.convert("L" if turned.mode in ("1", "L", "LA") else "RGB"))


def _as_the_tags_say(shown: Array, tags: Mapping[int, Any]) -> Array:
    """Invert a TIFF file whose white is zero; of 8 bits and fewer, Pillow does that."""
    return np.asarray(1 - shown if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else shown)


def _fitted(values: Array, form: ImageForm) -> Array:
    """Scale (H, W) or (H, W, 3) into the middle of a black square; return (size, size, channels)."""
    if values.ndim == 3 and form.channels == 1:
        values = np.asarray(Image.fromarray(values).convert("L")) if values.dtype == np.uint8 else values.mean(axis=2)
    height, width = values.shape[:2]
    factor = form.size / max(height, width)
    shape = max(1, round(height * factor)), max(1, round(width * factor))
    planes = np.atleast_3d(values)
    small = np.stack([_resized(planes[..., channel], shape) for channel in range(planes.shape[2])], axis=2)
    if small.dtype != np.uint8:
        small = (small.clip(0, 1) * 65535).round().astype(np.uint16)
    square = np.zeros((form.size, form.size, form.channels), dtype=small.dtype)
    top, left = (form.size - shape[0]) // 2, (form.size - shape[1]) // 2
    square[top : top + shape[0], left : left + shape[1]] = small  # one channel is copied into all
    return square


def _resized(plane: Array, shape: tuple[int, int]) -> Array:
    if plane.shape == shape:
        return plane
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return clipped(escaped(" ".join(str(text).split())), 200)
