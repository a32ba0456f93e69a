"""The saliency folder of a run: the maps of each image, written whole, and what is written about all of them."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import nullcontext
from pathlib import Path
from typing import Any, overload

import numpy as np

from runner.atomic_files import atomic_file, write_json
from runner.folder_lock import FolderLock
from runner.foreign_files import read_bytes
from runner.saliency import journal
from runner.saliency.checked_files import is_checked, read_checked
from runner.saliency.explanation import Explanation
from runner.saliency.failures import Failure, FailureRecord
from runner.saliency.index_set import IndexSet
from runner.saliency.index_table import index_rows, write_index
from runner.saliency.map_files import (
    DAMAGED,
    StoredImage,
    contents_of,
    files_of_images,
    first_index,
    image_bytes,
    images_in,
    prefix_of,
    write_images,
)
from runner.saliency.part import WHOLE, Part

log = logging.getLogger(__name__)

_AGREEMENT, _CHECKED, _JOURNAL = "agreement.json", "checked.json", ".part"


class SaliencyFolder:
    """The files of the saliency phase. Every name in the folder is spelled here; :mod:`map_files` tells what is inside.

    With *shard_size* 1 each image has a file of its own, ``maps/000012.npz``. Else the images with index 0 to 63, for
    example, share ``maps/000000-000063.npz``, which is written when they are all there or at the end, by :meth:`seal`;
    until then they wait in the journal ``maps/000000-000063.part``. The same images give the same bytes, in whatever
    order they come and however often the phase is interrupted.

    Several processes may write to it at the same time, a :class:`~runner.saliency.part.Part` each. What one of them has
    to say of its part lies in ``parts/03-of-16`` until :meth:`merge` takes it in.
    """

    def __init__(self, path: Path, shard_size: int = 1, dtype: str = "float32", part: Part = WHOLE) -> None:
        """Name the folder; :meth:`open` makes it.

        Args:
            path: Where it is.
            shard_size: How many images share a file.
            dtype: ``float32`` or ``float16``: how images and maps are stored.
            part: The images that this process explains.
        """
        self.path = path
        self.shard_size = shard_size
        """How many images share a file."""
        self._dtype = dtype
        self.part = part
        """The images that this process explains."""
        self._stored = IndexSet()
        self._failed = FailureRecord(self._own / "failures.csv")

    @property
    def parts(self) -> Path:
        """Folder of what processes have to say that make a part each."""
        return self.path / "parts"

    def of_part(self, part: Part) -> SaliencyFolder:
        """Return the folder as a process has it that makes *part*."""
        return SaliencyFolder(self.path, self.shard_size, self._dtype, part)

    @property
    def _own(self) -> Path:
        return self.path if self.part.is_whole else self.parts / self.part.name

    @property
    def maps(self) -> Path:
        """Folder of the maps."""
        return self.path / "maps"

    @property
    def overlays(self) -> Path:
        """Folder of the pictures."""
        return self.path / "overlays"

    @property
    def index(self) -> Path:
        """Table with one row per map, of all or of the part."""
        return self._own / "index.csv"

    @property
    def summary(self) -> Path:
        """What the maps of a part say together."""
        return self._own / "summary.npz"

    @property
    def checked(self) -> Path:
        """Which files of a part are known to be whole."""
        return self._own / _CHECKED

    @property
    def contact_sheet(self) -> Path:
        """Picture of many images."""
        return self.path / "contact_sheet.png"

    @property
    def settings(self) -> Path:
        """What the maps were made with."""
        return self.path / "settings.json"

    @property
    def failure_record(self) -> Path:
        """Table of the images that could not be explained; not there where all could."""
        return self._failed.path

    @property
    def failures(self) -> list[Failure]:
        """The images that could not be explained, by index."""
        return self._failed.failures

    def map_file(self, index: int) -> Path:
        """Return the file of the maps of one image, which may hold those of others too."""
        if self.shard_size == 1:
            return self.maps / f"{index:06d}.npz"
        first = index - index % self.shard_size
        return self.maps / f"{first:06d}-{first + self.shard_size - 1:06d}.npz"

    def overlay_file(self, index: int) -> Path:
        """Return the picture of one image."""
        return self.overlays / f"{index:06d}.png"

    def owns(self, index: int) -> bool:
        """Tell whether the image with *index* belongs to the part that this process explains."""
        return self.part.owns(index, self.shard_size)

    def open(self, settings: Mapping[str, Any]) -> Set[int]:
        """Make the folder ready and return the indices of the images that need not be explained again.

        Maps that were made with other settings, or in other files, and what cannot be read, are removed. Of several
        processes that begin at the same time the first one does so; each checks the files of its own part.

        Args:
            settings: What decides how the maps come out, for JSON.
        """
        for folder in (self.maps, self.overlays, self._own):
            folder.mkdir(parents=True, exist_ok=True)
        with nullcontext() if self.part.is_whole else FolderLock(self.path).held():
            self._keep_only(settings)
        self._stored = IndexSet()
        known = read_checked(self.parts.glob(f"*/{_CHECKED}"))
        for file in self.own_files("npz"):
            self._stored.update(images_in(file) if is_checked(file, known) else _checked(file))
        for file in self.own_files("part"):
            if torn := journal.cut_torn_tail(file):
                log.warning("saliency: the last %d bytes of %s are damaged and made anew", torn, file.name)
            self._stored.update(images_in(file))
        self._failed.discard(self._stored)
        return self._stored

    def own_files(self, suffix: str) -> list[Path]:
        """Return the files of the part with one suffix, see :func:`files_of_images`."""
        return [file for file in files_of_images(self.maps, suffix) if self.owns(first_index(file))]

    def _keep_only(self, settings: Mapping[str, Any]) -> None:
        """Remove maps of other settings."""
        layout = {"saliency_shard_size": self.shard_size, "saliency_dtype": self._dtype}
        wanted = json.loads(json.dumps({**settings, **layout}, default=str))
        known = _known_settings(self.settings)
        if known is not None and known != wanted:
            changed = sorted(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
            log.info("saliency: all maps are made anew, %s changed", ", ".join(changed))
            self._clear()
        if known != wanted:
            write_json(self.settings, wanted)

    def write(self, explanation: Explanation) -> None:
        """Write the maps of one image, whole or not at all.

        Raises:
            OSError: the disk is full, and so on.
        """
        index, contents = explanation.index, contents_of(explanation, self._dtype)
        file = self.map_file(index)
        if self.shard_size == 1:
            with atomic_file(file) as archive:
                write_images(archive, [("", contents)])
        else:
            journal.append(file.with_suffix(_JOURNAL), index, image_bytes(contents))
        self._stored.add(index)
        self._failed.discard([index])
        first = index - index % self.shard_size
        if self.shard_size > 1 and self._stored.has_all(first, first + self.shard_size):
            _seal(file)

    def write_failure(self, index: int, error: Exception) -> None:
        """Record that the image with *index* could not be explained, and why."""
        self._failed.add(index, error)

    def seal(self) -> None:
        """Bring the part to the form that it has at the end: no journals, and failures of this attempt only."""
        for file in self.own_files("part"):
            _seal(file.with_suffix(".npz"))
        self._failed.forget_earlier()

    def write_agreement(self, agreement: float) -> None:
        """Keep how well fast maps agree with exact ones: the least that this or an earlier attempt has found."""
        path = self._own / _AGREEMENT
        write_json(path, {"fast_agreement": min([agreement, *_agreements(path)])})

    def merge(self, num_parts: int) -> float | None:
        """Take in what the parts have recorded, once they are all done, and return their least agreement, if any.

        Args:
            num_parts: How many parts have just been made. 1: no parts, all images that failed in any were tried again.
        """
        if num_parts > 1:
            parts = (self.of_part(Part(number, num_parts)) for number in range(num_parts))
            self._failed.replace([each for part in parts for each in part.failures])
        return min(_agreements(self.path / _AGREEMENT, *self.parts.glob(f"*/{_AGREEMENT}")), default=None)

    def forget_parts(self) -> None:
        """Remove what parts have recorded; their logs stay."""
        for name in (self._failed.path.name, self.index.name, self.summary.name, _CHECKED, _AGREEMENT):
            for file in self.parts.glob(f"*/{name}"):
                file.unlink()
        (self.path / _AGREEMENT).unlink(missing_ok=True)

    def write_index(self, explanations: Iterable[Explanation]) -> None:
        """Write the table from all images, one after the other."""
        files = ((each, self.map_file(each.index).relative_to(self.path).as_posix()) for each in explanations)
        write_index(self.index, (row for each, file in files for row in index_rows(each, file)))

    def keep_overlays(self, indices: Collection[int]) -> None:
        """Remove the pictures of all images but *indices*, which an earlier attempt may have drawn."""
        for file in self.overlays.glob("*.png"):
            if file.stem.isdigit() and int(file.stem) not in indices:
                file.unlink()

    def _clear(self) -> None:
        for folder, suffix in ((self.maps, "npz"), (self.maps, "part"), (self.overlays, "png")):
            for file in folder.glob(f"*.{suffix}"):
                file.unlink()
        self._failed.discard([each.index for each in self.failures])
        self.forget_parts()


class SavedMaps(Sequence[Explanation]):
    """The explanations in a saliency folder in the order of the data set, each read when it is asked for."""

    def __init__(self, path: Path, owns: Callable[[int], bool] | None = None) -> None:
        """Look for the files.

        Args:
            path: The saliency folder of a run.
            owns: Tells by the index of its first image whether a file is wanted; None: all are.
        """
        files = (file for suffix in ("npz", "part") for file in files_of_images(SaliencyFolder(path).maps, suffix))
        self._files = [file for file in files if owns is None or owns(first_index(file))]
        self._last: tuple[Path | None, dict[int, StoredImage]] = None, {}
        indices, numbers = array("q"), array("l")
        for number, file in enumerate(self._files):
            here = images_in(file)
            indices.extend(here)
            numbers.extend([number] * len(here))
        order = np.argsort(indices, kind="stable")
        ordered = np.asarray(indices)[order]
        is_last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]  # a journal has the word
        self.indices = array("q", ordered[is_last].tobytes())
        """Of each image in the data set."""
        self._numbers = array("l", np.asarray(numbers)[order][is_last].tobytes())

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Explanation: ...
    @overload
    def __getitem__(self, place: slice) -> list[Explanation]: ...
    def __getitem__(self, place: int | slice) -> Explanation | list[Explanation]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        file, index = self._files[self._numbers[place]], self.indices[place]
        if self._last[0] != file:
            self._last = file, images_in(file)
        return self._last[1][index].explanation()


def _seal(shard: Path) -> None:
    """Write a file of many images from what it holds already and its journal, image by image, and end the journal."""
    images = images_in(shard) if shard.is_file() else {}
    images |= images_in(shard.with_suffix(_JOURNAL))
    if images:
        _write_shard(shard, images)
    shard.with_suffix(_JOURNAL).unlink()


def _write_shard(shard: Path, images: Mapping[int, StoredImage]) -> None:
    with atomic_file(shard) as archive:
        write_images(archive, ((prefix_of(index), images[index].contents()) for index in sorted(images)))


def _checked(file: Path) -> set[int]:
    """Return the images in *file*; those that cannot be read are removed from it."""
    try:
        images = images_in(file)
    except DAMAGED:
        images = {}
    whole = {index: image for index, image in images.items() if _is_whole(index, image)}
    if len(whole) < max(len(images), 1):
        log.warning("saliency: %s is damaged and made anew", file.name)
        if whole:
            _write_shard(file, whole)
        else:
            file.unlink()
    return set(whole)


def _is_whole(index: int, image: StoredImage) -> bool:
    try:
        return image.explanation().index == index
    except DAMAGED:
        return False


def _agreements(*paths: Path) -> list[float]:
    found = [json.loads(read_bytes(path))["fast_agreement"] for path in paths if path.is_file()]
    return [each for each in found if isinstance(each, float)]


def _known_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of the maps that are there; none that can be kept where they are damaged."""
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, or not even text
        known = None
    return known if isinstance(known, dict) else {}
