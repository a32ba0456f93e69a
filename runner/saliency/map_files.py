"""The npz files of maps: one image in each, or many in one; numpy alone reads them.

``000012.npz`` holds the image with index 12: each field of :class:`~runner.saliency.explanation.Explanation` that is
not None under its own name, each measure as ``measures/<name>``. ``000000-000063.npz`` holds up to 64 images, whose
entries have the index before their name: ``000012/maps``. ``000000-000063.part`` is the
:mod:`~runner.saliency.journal` of images that wait for the others of their file, each an npz of its own. The same
images give the same bytes.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.saliency import journal
from runner.saliency.explanation import Explanation

Array = NDArray[Any]

DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy raises for files that are not whole."""

_NAME = re.compile(r"(\d+)(-\d+)?")
_NARROW = ("image", "maps", "color_maps")
"""What is stored in the precision that the user chose, and read as float32."""
_MEASURES = "measures/"


class StoredImage(NamedTuple):
    """Where one image lies."""

    file: Path
    prefix: str = ""
    """What stands before the names of its entries."""
    record: journal.Record | None = None
    """Its place, where *file* is a journal."""

    def entries(self) -> dict[str, Array]:
        """Return the arrays of the image.

        Raises:
            Exception: one of ``DAMAGED``, if the file is missing, damaged, or holds something else.
        """
        if self.record is not None:
            with np.load(io.BytesIO(self.record.read(self.file)), allow_pickle=False) as archive:
                return dict(archive)
        archive = _opened(self.file)
        names = [name for name in archive.files if name.startswith(self.prefix)]
        return {name.removeprefix(self.prefix): archive[name] for name in names}

    def explanation(self) -> Explanation:
        """Return the image as it was written, but for its precision.

        Raises:
            Exception: one of ``DAMAGED``, as above.
        """
        values: dict[str, Any] = self.entries()
        measures = {
            name.removeprefix(_MEASURES): values.pop(name) for name in list(values) if name.startswith(_MEASURES)
        }
        for name in ("index", "label", "num_masks"):
            values[name] = int(values[name])
        for name in _NARROW:
            if name in values:
                values[name] = values[name].astype(np.float32, copy=False)
        return Explanation(**values, measures=measures)


def entries_of(explanation: Explanation, dtype: str) -> dict[str, Array]:
    """Return the arrays that make up the file of one image, in a fixed order.

    Args:
        explanation: The image.
        dtype: ``float32`` or ``float16``, for image and maps; an image with values beyond float16 stays float32.
    """
    values = {each.name: getattr(explanation, each.name) for each in fields(explanation)}
    values |= {_MEASURES + name: value for name, value in sorted(values.pop("measures").items())}
    entries = {name: np.asarray(value) for name, value in values.items() if value is not None}
    return entries | {name: _narrowed(entries[name], dtype) for name in _NARROW if name in entries}


def write_images(
    file: IO[bytes], images: Iterable[tuple[str, Mapping[str, Array]]], compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write an npz as ``numpy.savez_compressed`` does, of one image after the other.

    Args:
        file: Where to.
        images: What stands before the names of its entries, and its entries, of each image.
        compression: One of zipfile's constants.
    """
    with zipfile.ZipFile(file, "w", compression) as archive:
        for prefix, entries in images:
            for name, array in entries.items():
                with archive.open(f"{prefix}{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)


def image_bytes(entries: Mapping[str, Array]) -> bytes:
    """Return the npz of one image without compression, for a journal."""
    content = io.BytesIO()
    write_images(content, [("", entries)], zipfile.ZIP_STORED)
    return content.getvalue()


def prefix_of(index: int) -> str:
    """Return what stands before the names of the entries of one image among many."""
    return f"{index:06d}/"


def images_in(file: Path) -> dict[int, StoredImage]:
    """Return the images in one file, without reading them.

    Raises:
        Exception: one of ``DAMAGED``, if the file is missing, damaged, or holds something else.
    """
    if file.suffix == ".part":
        return {index: StoredImage(file, record=record) for index, record in journal.records(file).items()}
    if "-" not in file.stem:
        return {first_index(file): StoredImage(file)}
    indices = {int(name.partition("/")[0]) for name in _opened(file).files}
    return {index: StoredImage(file, prefix_of(index)) for index in indices}


def files_of_images(folder: Path, suffix: str) -> list[Path]:
    """Return the files in *folder* whose name is that of images, in order.

    Args:
        folder: Where; it may be missing.
        suffix: ``npz`` or ``part``.
    """
    return sorted(file for file in folder.glob(f"*.{suffix}") if _NAME.fullmatch(file.stem))


def first_index(file: Path) -> int:
    """Return the index of the first image that a file of images may hold."""
    return int(file.stem.partition("-")[0])


def _narrowed(values: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    return narrow if np.isfinite(narrow).all() else values.astype(np.float32)


def _opened(file: Path) -> Any:
    """Return the open npz; the last one stays open, because its table of contents is long to read."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"{file} is no regular file")
    return _open(file, state.st_ino, state.st_mtime_ns, os.getpid())


@lru_cache(maxsize=1)
def _open(file: Path, *_identity: int) -> Any:
    """Open *file* anew when it was replaced, and in a forked process, which would share the place in it."""
    return np.load(file, allow_pickle=False)
