"""DICOM and NIfTI files, with pydicom and nibabel: ``pip install 'lightcase[medical]'``."""

from __future__ import annotations

import gzip
import math
import zlib
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from runner.images.pixels import MAX_PIXELS, UnreadableImageError, check_pixels, chosen_frame, scaled

Array = NDArray[Any]

NIFTI_MAGIC = (b"n+1\0", b"n+2\0")
"""At byte 344 of the older kind of NIfTI file, at byte 4 of the newer."""

MAX_INFLATED = 3 * MAX_PIXELS
"""Bytes of a deflated DICOM file after unpacking."""


def read_dicom(path: Path, window: tuple[float, float] | None, frame: int | None) -> Array:
    """Read one frame of a DICOM file.

    Grey: stored values become the modality's by rescale slope and intercept (or its table), then 0 to 1 by *window*,
    else by the file's own (first) window or VOI table, else from the least to the greatest value. 8 bits with none of
    these stay as they are. MONOCHROME1 is inverted. Colours: 0 to 1 is the range of the type.

    Args:
        path: The file.
        window: Centre and width.
        frame: Which frame, from 0; None: the middle one.

    Returns:
        (H, W), or (H, W, 3) for colours: uint8, or float32 from 0 to 1.

    Raises:
        UnreadableImageError: there are no pixels that can be shown. pydicom raises what it likes for damaged files.
    """
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    _check_deflated(path)
    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        raise UnreadableImageError("is a DICOM file without pixels")
    check_pixels(int(dataset.Rows), int(dataset.Columns))
    number = int(dataset.get("NumberOfFrames") or 1)
    stored = pixel_array(dataset, index=chosen_frame(frame, number, default=number // 2))
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        return stored if stored.dtype == np.uint8 else scaled(stored, None, (0, np.iinfo(stored.dtype).max))
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    tags = ("RescaleSlope", "ModalityLUTSequence", "WindowCenter", "VOILUTSequence")
    if (
        stored.dtype == np.uint8
        and dataset.BitsStored == 8
        and window is None
        and not any(tag in dataset for tag in tags)
    ):
        return np.asarray(255 - stored if is_inverted else stored)
    values = apply_modality_lut(stored, dataset)
    shown = _shown_as_the_file_says(values, dataset) if window is None else scaled(values, window)
    return np.asarray(1 - shown if is_inverted else shown)


def _check_deflated(path: Path) -> None:
    """Refuse a packed data set that would fill the memory; pydicom unpacks it as a whole, before its sizes are known.

    Raises:
        UnreadableImageError: it is.
    """
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        file.seek(132)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflate.eof and (packed := inflate.unconsumed_tail or file.read(2**16)):
            size += len(inflate.decompress(packed, 2**20))
            if size > MAX_INFLATED:
                raise UnreadableImageError(f"holds more than {MAX_INFLATED} packed bytes: may be a decompression bomb")


def _shown_as_the_file_says(values: Array, dataset: Any) -> Array:
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        center, width = (float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        if not (math.isfinite(center) and math.isfinite(width) and width > 0):
            raise UnreadableImageError(f"has a window of centre {center:g} and width {width:g}")
        function = dataset.get("VOILUTFunction", "LINEAR")
        if function == "SIGMOID":
            steps = np.clip(4 * (values.astype(np.float64) - center) / width, -80, 80)
            return np.asarray(1 / (1 + np.exp(-steps)), dtype=np.float32)
        if function == "LINEAR":  # C.11.2.1.2.1: a window of 256 tells the values -128 to 127 apart
            center, width = center - 0.5, max(width - 1, 1e-3)
        return scaled(values, (center, width))
    if "VOILUTSequence" in dataset:
        from pydicom.pixels.processing import apply_voi

        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return scaled(apply_voi(values, dataset), None, (0, 2**bits - 1))
    return scaled(values, None)


def read_nifti(path: Path, window: tuple[float, float] | None, frame: int | None) -> Array:
    """Read one axial slice of a NIfTI volume, front at the top, the patient's left on the left.

    Args:
        path: The file, ``.nii`` or ``.nii.gz``. Of a time series the first volume is taken.
        window: Centre and width of the values (after the file's scaling); None: from the slice's least to its
            greatest value.
        frame: Which slice, from 0 at the feet; None: the middle one.

    Returns:
        float32 (H, W), from 0 to 1.

    Raises:
        UnreadableImageError: it is no volume, or too large.
    """
    nibabel: Any = import_module("nibabel")  # untyped in part

    with _opened(path) as stream:
        first = stream.read(4)
        stream.seek(0)
        head_size = {int.from_bytes(first, order) for order in ("little", "big")}
        if not head_size & {348, 540}:
            raise UnreadableImageError("is packed with gzip, but holds no NIfTI file")
        kind = nibabel.Nifti1Image if 348 in head_size else nibabel.Nifti2Image
        volume = kind.from_stream(stream)
        if len(volume.shape) < 3 or min(volume.shape) < 1:
            raise UnreadableImageError(f"is a NIfTI file of shape {volume.shape}, no volume")
        axis, is_flipped = _upward_axis(nibabel.orientations.io_orientation(volume.affine))
        number = volume.shape[axis]
        chosen = chosen_frame(frame, number, default=number // 2)
        place = number - 1 - chosen if is_flipped else chosen
        check_pixels(*(size for other, size in enumerate(volume.shape[:3]) if other != axis))
        where = [slice(place, place + 1) if other == axis else slice(None) for other in range(3)]
        thin = volume.slicer[(*where, *[0] * (len(volume.shape) - 3))]
        plane = np.asarray(nibabel.as_closest_canonical(thin).dataobj)[..., 0]
    return scaled(np.rot90(plane), window)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if is_packed else path.open("rb")


def _upward_axis(orientation: Array) -> tuple[int, bool]:
    """Return which axis of the array runs from feet to head, else the last one; and whether it runs downwards."""
    found = np.flatnonzero(orientation[:, 0] == 2)
    axis = int(found[0]) if len(found) else 2
    return axis, bool(orientation[axis, 1] < 0)
