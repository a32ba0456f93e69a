"""Images as models take them, kept on disk: decoding and scaling a large photograph can take longer than training."""

from __future__ import annotations

import hashlib
import logging
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.atomic_files import temporary_name
from runner.images.pixels import UnreadableImageError
from runner.images.readers import ImageForm

Array = NDArray[Any]

log = logging.getLogger(__name__)

_VERSION = 2
"""Part of every key; to be raised when ``read_image`` gives other values for the same file."""

_DTYPES = {1: np.uint8, 2: np.uint16}


class ImageCache:
    """A folder of images by digest of the file's content and the settings; any number of processes may share it.

    A file holds the sha256 of its key and the values, then the values. It appears under its name when it is whole, and
    is checked whenever it is read; a damaged one is made again. It is never needed: a full disk only costs time.
    """

    def __init__(self, folder: Path, form: ImageForm) -> None:
        self.folder, self.form = folder, form
        self._can_write = True

    def key(self, path: Path, frame: int | None) -> str:
        """Return the name of an image in the cache; the whole file is read for it.

        Raises:
            UnreadableImageError: it cannot be read.
        """
        if not path.is_file():  # a pipe would never end
            raise UnreadableImageError("is no file")
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error
        digest.update(f"{_VERSION} {self.form} {frame}".encode())
        return digest.hexdigest()

    def read(self, key: str) -> Array | None:
        """Return the image, as :func:`runner.images.read_image` does, or None where it is not there or is damaged."""
        try:
            content = self._file(key).read_bytes()
        except OSError:
            return None
        digest, values = content[:32], content[32:]
        shape = self.form.size, self.form.size, self.form.channels
        num_values = math.prod(shape)
        if len(values) not in (num_values, 2 * num_values) or _digest(key, values) != digest:
            log.warning("%s is damaged and is made again", self._file(key))
            return None
        dtype = _DTYPES[len(values) // num_values]
        return np.frombuffer(values, dtype=dtype).reshape(shape)

    def write(self, key: str, image: Array) -> None:
        """Keep an image, uint8 or uint16 (H, W, C). Where that is not possible, one warning says so."""
        if not self._can_write:
            return
        target, values = self._file(key), np.ascontiguousarray(image).tobytes()
        temporary = temporary_name(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_digest(key, values) + values)  # no fsync: it is checked when it is read
            temporary.replace(target)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            if self._can_write:
                self._can_write = False
                log.warning("image_cache: %s cannot be written, so images are decoded again: %s", self.folder, error)

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]


def _digest(key: str, values: bytes) -> bytes:
    return hashlib.sha256(key.encode() + values).digest()
