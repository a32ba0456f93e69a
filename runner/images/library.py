"""All images of a data set, read once at the start of a run: in memory, or in a cache on disk."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runner.atomic_files import write_text
from runner.errors import ParameterError, RunFailedError
from runner.images.cache import ImageCache
from runner.images.labels import LabelledImage, quoted, shown
from runner.images.pixels import UnreadableImageError
from runner.images.readers import ImageForm, read_image
from runner.number_text import format_seconds
from runner.shown import csv_line

Array = NDArray[Any]

log = logging.getLogger(__name__)

MAX_MEMORY = 4 * 2**30
"""Bytes of images that are kept in memory without a cache."""

UNREADABLE_FILE = "unreadable_images.csv"

MAX_NAMED = 5


class ImageLibrary:
    """The images of a data set in one form, by their number."""

    def __init__(self, images: Sequence[LabelledImage], form: ImageForm, cache_folder: Path | None) -> None:
        """Prepare to read; :meth:`load` does it.

        Raises:
            ParameterError: there are too many for the memory, and no cache.
        """
        self.images, self.form = images, form
        self._cache = ImageCache(cache_folder, form) if cache_folder is not None else None
        self._in_memory: dict[int, Array] = {}
        self._keys: dict[int, str] = {}
        size = len(images) * form.size**2 * form.channels
        if self._cache is None and size > MAX_MEMORY:
            raise ParameterError(
                f"{len(images)} images of {form.size} x {form.size} pixels need {size / 2**30:.1f} GB of memory, and "
                f"{MAX_MEMORY / 2**30:.0f} are the limit: keep them on disk with --image_cache=FOLDER."
            )

    def load(self) -> dict[int, str]:
        """Read all images, so that nothing can fail later; return why some cannot be read, by their number."""
        started = time.monotonic()
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoders let other threads run
            outcomes = list(pool.map(self._load, range(len(self.images))))
        reasons = {number: outcome for number, outcome in enumerate(outcomes) if isinstance(outcome, str)}
        found = f", {outcomes.count(True)} of them from image_cache" if self._cache is not None else ""
        seconds = format_seconds(time.monotonic() - started)
        log.info("%d images read in %s%s", len(self.images) - len(reasons), seconds, found)
        return reasons

    def __getitem__(self, number: int) -> Array:
        """Return an image that :meth:`load` could read: uint8 or uint16, (H, W, C)."""
        if self._cache is None:
            return self._in_memory[number]
        return self._cached(self._cache, self._keys[number], number)[0]

    def _load(self, number: int) -> bool | str:
        """Read one image; return whether it came from the cache, or why it cannot be read."""
        try:
            if self._cache is None:
                self._in_memory[number] = self._read(number)
                return False
            self._keys[number] = key = self._cache.key(self.images[number].path, self.images[number].frame)
            return self._cached(self._cache, key, number)[1]
        except UnreadableImageError as error:
            return str(error)

    def _read(self, number: int) -> Array:
        return read_image(self.images[number].path, self.form, self.images[number].frame)

    def _cached(self, cache: ImageCache, key: str, number: int) -> tuple[Array, bool]:
        """Return an image, and whether it was in the cache.

        Raises:
            RunFailedError: it was not, and its file is not the one that the key was made of any more.
        """
        image = cache.read(key)
        if image is not None:
            return image, True
        image, source = self._read(number), self.images[number]
        if cache.key(source.path, source.frame) != key:
            raise RunFailedError(f"{shown(source.path)} has changed since the run began.")
        cache.write(key, image)
        return image, False


def report_unreadable(
    images: Sequence[LabelledImage], reasons: Mapping[int, str], folder: Path, *, may_leave_out: bool
) -> None:
    """List images that cannot be read in ``unreadable_images.csv``, and tell of them in one warning.

    Args:
        images: All images.
        reasons: Why some cannot be read, by their number.
        folder: Where the file goes.
        may_leave_out: Whether the run can do without them.

    Raises:
        RunFailedError: the run cannot, or there is no other image.
    """
    if not reasons:
        return
    rows = [(images[number].name, reason) for number, reason in reasons.items()]
    write_csv(folder / UNREADABLE_FILE, ("image", "reason"), rows)
    named = "; ".join(f"{quoted(name)} {reason}" for name, reason in rows[:MAX_NAMED])
    text = f"{len(rows)} of {len(images)} images cannot be read: {named}{'; ...' if rows[MAX_NAMED:] else ''}"
    if len(rows) == len(images) or not may_leave_out:
        raise RunFailedError(f"{text}. All are in {folder / UNREADABLE_FILE}.")
    log.warning("%s. They are left out, and listed in %s", text, UNREADABLE_FILE)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table for spreadsheets and terminals, with what they would obey as escapes; None is an empty field."""
    lines = [csv_line(header), *(csv_line("" if each is None else str(each) for each in row) for row in rows)]
    write_text(file, "".join(lines))
