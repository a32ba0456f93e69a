"""Which images of a data set the gallery shows, from index.csv alone; the maps are not read for that."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runner.foreign_files import MOST_OF_TABLE, MOST_ROWS, open_file, rows_of
from runner.reports.record import number_or_nan
from runner.saliency.explanation import OK, Explanation
from runner.saliency.index_table import MEASURES, index_rows
from runner.saliency.map_files import DAMAGED, StoredImage, files_of_images, images_in
from runner.saliency.pictures import full_color
from runner.saliency.storage import SaliencyFolder

MOST_IMAGES = 64
"""In the gallery."""

MOST_BYTES = 2**29
"""Of one image and its maps, unpacked; pictures of them take several times that in memory."""

MOST_PIXELS, MOST_TARGETS = 36_000_000, 10_000
"""Of one picture or slice, and of one image."""

NOT_SHOWN = (*DAMAGED, MemoryError)
"""What is raised for images that are damaged, or larger than can be shown."""

WEAK = 0.1
"""A map with less than this share of the strength that has the full colour is called weak."""

_MOST_WRONG, _MOST_OFF, _MOST_WEAK = 20, 8, 4


@dataclass(frozen=True)
class MapRow:
    """The row of an image's main map in index.csv."""

    index: int
    file: str
    """As it stands in the table."""
    label: int | None
    predicted: int
    score: float
    """Of the predicted class."""
    target: int
    strength: float
    flag: str
    is_on_target: bool | None
    """Whether the peak lies in the known truth."""
    numbers: Mapping[str, float]
    """The measures of the map that there are."""

    def explanation(self, folder: SaliencyFolder) -> Explanation:
        """Return the image and its maps; whatever the table says, nothing outside of *folder* is opened.

        Raises:
            Exception: one of ``NOT_SHOWN``.
        """
        return _read(images_in(folder.maps / Path(self.file).name)[self.index])

    @property
    def is_wrong(self) -> bool:
        """Whether prediction and label differ."""
        return self.label is not None and self.label != self.predicted

    @property
    def is_off_target(self) -> bool:
        """Whether the truth is known and the peak lies elsewhere."""
        return self.is_on_target is False

    def is_weak(self, full: float) -> bool:
        """Tell whether the map says little, or points nowhere.

        Args:
            full: The strength that has the full colour.
        """
        return self.flag != OK or not self.strength >= WEAK * full


def read_rows(folder: SaliencyFolder) -> tuple[list[MapRow], int]:
    """Return a row per image, by index, and the number of images.

    Where there is no index.csv that can be read, as when a run ended before it was written, they are from the maps
    themselves: of some, evenly spread.
    """
    try:
        with open_file(folder.index) as file:  # which may have many more rows than are read
            text = io.StringIO(file.read(MOST_OF_TABLE).decode("utf-8", "replace"), newline="")
    except OSError:
        return _rows_of_maps(folder)
    rows = _main_rows(map(_row, itertools.islice(rows_of(csv.DictReader(text)), MOST_ROWS)))
    return rows, len(rows)


def full_strength(rows: Sequence[MapRow]) -> float:
    """Return the strength that has the full colour."""
    return full_color([row.strength for row in rows if row.flag == OK])


def choose(rows: Sequence[MapRow], full: float) -> tuple[list[MapRow], str]:
    """Return which images are shown, by index, and words for how they were chosen.

    Args:
        rows: Of all images.
        full: The strength that has the full colour.
    """
    if len(rows) <= MOST_IMAGES:
        return list(rows), ""
    chosen: dict[int, MapRow] = {}
    words = []
    kinds: list[tuple[str, int, Callable[[MapRow], bool], Callable[[MapRow], float]]] = [
        ("wrong ones, the surest first", _MOST_WRONG, lambda row: row.is_wrong, lambda row: -row.score),
        ("off target", _MOST_OFF, lambda row: row.is_off_target, lambda row: row.numbers.get("energy_in_truth", 0.0)),
        ("with the weakest maps", _MOST_WEAK, lambda row: row.is_weak(full), lambda row: row.strength),
    ]
    for name, most, fits, key in kinds:
        found = sorted((row for row in rows if row.index not in chosen and fits(row)), key=key)[:most]
        chosen |= {row.index: row for row in found}
        words += [f"{len(found)} {name}"] if found else []
    rest = [row for row in rows if row.index not in chosen]
    places = _spread(len(rest), MOST_IMAGES - len(chosen))
    words.append(f"{len(places)} evenly spread")
    chosen |= {rest[place].index: rest[place] for place in places}
    return [chosen[index] for index in sorted(chosen)], "; ".join(words)


def _main_rows(rows: Iterable[MapRow | None]) -> list[MapRow]:
    """Return of each image the map that speaks for it: of the label, else of the prediction, else the first."""
    found: dict[int, MapRow] = {}
    for row in rows:
        if row is not None and (row.index not in found or _rank(row) < _rank(found[row.index])):
            found[row.index] = row
    return [found[index] for index in sorted(found)]


def _rank(row: MapRow) -> int:
    return 0 if row.target == row.label else 1 if row.target == row.predicted else 2


def _row(row: Mapping[str, str]) -> MapRow | None:
    """Return a row of index.csv; None for one that is damaged."""
    try:
        index = int(row["index"])
        file = str(row["file"])
        on_target = {"1": True, "0": False}.get(row["peak_in_truth"])
        label = int(row["label"]) if row["label"] else None
        predicted, target = int(row["predicted"]), int(row["target"])
        flag = str(row["flag"])
        names = ("quality", "energy_in_truth", "num_masks", *MEASURES)
        numbers = {name: number_or_nan(row.get(name)) for name in names}
    except (KeyError, ValueError, TypeError):
        return None
    known = {name: value for name, value in numbers.items() if math.isfinite(value)}
    score, strength = number_or_nan(row.get("score")), number_or_nan(row.get("strength"))
    return MapRow(index, file, label, predicted, score, target, strength, flag, on_target, known)


def _rows_of_maps(folder: SaliencyFolder) -> tuple[list[MapRow], int]:
    stored: dict[int, StoredImage] = {}
    for suffix in ("npz", "part"):
        for file in files_of_images(folder.maps, suffix):
            with suppress(*NOT_SHOWN):
                stored |= images_in(file)
    indices, rows = sorted(stored), []
    for place in _spread(len(indices), MOST_IMAGES):
        found = stored[indices[place]]
        with suppress(*NOT_SHOWN):
            rows += [_row({k: str(v) for k, v in row.items()}) for row in index_rows(_read(found), found.file.name)]
    return _main_rows(rows), len(stored)


def _read(stored: StoredImage) -> Explanation:
    """Return an image that anybody may have made, and that may therefore be far larger than its file."""
    found = stored.explanation(MOST_BYTES)
    pictures = [each for each in (found.image, found.maps, found.truth) if each is not None]
    if max(math.prod(each.shape[-2:]) for each in pictures) > MOST_PIXELS or len(found.targets) > MOST_TARGETS:
        raise ValueError("too large to be shown")
    return found


def _spread(length: int, most: int) -> list[int]:
    """Return all places, or as many evenly spread ones as there may be."""
    return sorted(set(np.linspace(0, length - 1, min(length, most)).round().astype(int).tolist()))
