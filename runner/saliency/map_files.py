"""The npz files of maps: one image in each, or many in one; numpy alone reads them.

``000012.npz`` holds the image with index 12: each field of :class:`~runner.saliency.explanation.Explanation` that is
not None under its own name, each measure as ``measures/<name>``. ``000000-000063.npz`` holds up to 64 images, whose
entries have the index before their name: ``000012/maps``. ``000000-000063.part`` is the
:mod:`~runner.saliency.journal` of images that wait for the others of their file, each an npz of its own. The same
images give the same bytes.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.saliency import journal
from runner.saliency.explanation import Explanation

Array = NDArray[Any]

DAMAGED = (
    OSError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError,
    zipfile.BadZipFile, zlib.error, SyntaxError, TokenError,
)  # fmt: skip
"""What files raise that are not whole; not MemoryError, because what is damaged is made anew."""

_NAME = re.compile(r"(\d+)(-\d+)?")
_NARROW = ("image", "maps", "color_maps")
"""What is stored in the precision that the user chose, and read as float32."""
_MEASURES = "measures/"
_NPY = ".npy"
_KINDS = "biufU"
"""Truth values, integers, floats, and the text of flags."""


class StoredImage(NamedTuple):
    """Where one image lies."""

    file: Path
    prefix: str = ""
    """What stands before the names of its entries."""
    record: journal.Record | None = None
    """Its place, where *file* is a journal."""

    def contents(self, most: int | None = None) -> dict[str, bytes]:
        """Return the arrays of the image as npy files.

        Args:
            most: How many bytes they may have together; what somebody else packed may unpack to a thousand times its
                size.

        Raises:
            Exception: one of ``DAMAGED``, if the file is missing, damaged, too large, or holds something else.
        """
        if self.record is not None:
            with zipfile.ZipFile(io.BytesIO(self.record.read(self.file))) as archive:
                found = _unpacked(archive, archive.namelist(), most)
        else:
            opened = _opened(self.file)
            names = opened.names[self.prefix] if self.prefix else opened.archive.namelist()
            found = _unpacked(opened.archive, names, most)
        return {name.removeprefix(self.prefix).removesuffix(_NPY): content for name, content in found.items()}

    def entries(self, most: int | None = None) -> dict[str, Array]:
        """Return the arrays of the image.

        Args:
            most: As above.

        Raises:
            Exception: one of ``DAMAGED``, as above.
        """
        return {name: _array(content) for name, content in self.contents(most).items()}

    def explanation(self, most: int | None = None) -> Explanation:
        """Return the image as it was written, but for its precision.

        Args:
            most: As above.

        Raises:
            Exception: one of ``DAMAGED``, as above.
        """
        values: dict[str, Any] = self.entries(most)
        measures = {
            name.removeprefix(_MEASURES): values.pop(name) for name in list(values) if name.startswith(_MEASURES)
        }
        for name in ("index", "label", "num_masks"):
            values[name] = int(values[name])
        for name in _NARROW:
            if name in values:
                values[name] = values[name].astype(np.float32, casting="same_kind", copy=False)  # no strings
        return Explanation(**values, measures=measures)


def contents_of(explanation: Explanation, dtype: str) -> dict[str, bytes]:
    """Return the arrays that make up the file of one image as npy files, in a fixed order.

    Args:
        explanation: The image.
        dtype: ``float32`` or ``float16``, for image and maps; an image with values beyond float16 stays float32.
    """
    values = {each.name: getattr(explanation, each.name) for each in fields(explanation)}
    values |= {_MEASURES + name: value for name, value in sorted(values.pop("measures").items())}
    entries = {name: np.asarray(value) for name, value in values.items() if value is not None}
    entries |= {name: _narrowed(entries[name], dtype) for name in _NARROW if name in entries}
    return {name: _npy(array) for name, array in entries.items()}


def write_images(
    file: IO[bytes], images: Iterable[tuple[str, Mapping[str, bytes]]], compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write an npz as ``numpy.savez_compressed`` does, of one image after the other.

    Args:
        file: Where to.
        images: What stands before the names of its entries, and its entries as npy files, of each image.
        compression: One of zipfile's constants.
    """
    with zipfile.ZipFile(file, "w", compression) as archive:
        for prefix, contents in images:
            for name, content in contents.items():
                with archive.open(f"{prefix}{name}{_NPY}", "w", force_zip64=True) as entry:
                    entry.write(content)


def image_bytes(contents: Mapping[str, bytes]) -> bytes:
    """Return the npz of one image without compression, for a journal."""
    file = io.BytesIO()
    write_images(file, [("", contents)], zipfile.ZIP_STORED)
    return file.getvalue()


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
    return {int(prefix[:-1]): StoredImage(file, prefix) for prefix in _opened(file).names}


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


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _unpacked(archive: zipfile.ZipFile, names: Iterable[str], most: int | None) -> dict[str, bytes]:
    """Return entries of an npz, each as long as the table of contents says and no longer."""
    entries = [archive.getinfo(name) for name in names]
    if most is not None and sum(each.file_size for each in entries) > most:
        raise ValueError(f"larger than the {most / 1e6:.0f} MB that are read of it")
    if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in entries):
        # zipfile unpacks those at once, however long they get
        raise ValueError("packed in another way than numpy does")
    found = {}
    for each in entries:
        with archive.open(each) as file:
            found[each.filename] = file.read(each.file_size)
    return found


def _array(content: bytes) -> Array:
    """Return the array in an npy file, as ``numpy.load`` does in four times the time."""
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, is_fortran, dtype = _head(content[:start])
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError("not as long as its head says")
    return np.ndarray(shape, dtype, content, start, order="F" if is_fortran else "C").copy()


@lru_cache(maxsize=100)
def _head(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the head of an npy file; those of one name are alike in all images."""
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("no npy file of version 1.0")
    try:
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except MemoryError as error:  # how Python's parser says it
        raise ValueError("nested too deeply") from error
    if dtype.kind not in _KINDS or not dtype.itemsize:  # of elements without bytes any number fits
        raise ValueError(f"{dtype} is not read")
    return shape, is_fortran, dtype


class _Opened(NamedTuple):
    """An npz of many images."""

    archive: zipfile.ZipFile
    names: dict[str, list[str]]
    """Its entries, by what stands before their names."""


def _opened(file: Path) -> _Opened:
    """Return the open npz; the last one stays open, because its table of contents is long to read."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"{file} is no regular file")
    return _open(file, state.st_ino, state.st_mtime_ns, os.getpid())


@lru_cache(maxsize=1)
def _open(file: Path, *_identity: int) -> _Opened:
    """Open *file* anew when it was replaced, and in a forked process, which would share the place in it."""
    archive = zipfile.ZipFile(file)
    names: dict[str, list[str]] = {}
    for name in archive.namelist():
        before, slash, _ = name.partition("/")
        names.setdefault(before + slash, []).append(name)
    return _Opened(archive, names)
