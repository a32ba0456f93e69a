"""Which images of a data set the gallery shows, from index.csv alone; the maps are not read for that."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runner.reports.record import number_or_nan
from runner.saliency.explanation import OK
from runner.saliency.index_table import MEASURES, index_rows
from runner.saliency.map_files import DAMAGED, StoredImage, files_of_images, images_in, prefix_of
from runner.saliency.pictures import full_color
from runner.saliency.storage import SaliencyFolder

MOST_IMAGES = 64
"""In the gallery."""

WEAK = 0.1
"""A map with less than this share of the strength that has the full colour is called weak."""

_MOST_WRONG, _MOST_OFF, _MOST_WEAK = 20, 8, 4


@dataclass(frozen=True)
class MapRow:
    """The row of an image's main map in index.csv."""

    index: int
    stored: StoredImage
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


def read_rows(folder: SaliencyFolder) -> list[MapRow]:
    """Return a row per image, by index; from the maps themselves where a run ended before its index.csv was written."""
    if folder.index.is_file():
        with folder.index.open(newline="", encoding="utf-8", errors="replace") as file:
            return _main_rows(_row(each, folder) for each in csv.DictReader(file))
    return _main_rows(_rows_of_maps(folder))


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
    places = np.linspace(0, len(rest) - 1, MOST_IMAGES - len(chosen)).round().astype(int).tolist()
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


def _row(row: Mapping[str, str], folder: SaliencyFolder) -> MapRow | None:
    """Return a row of index.csv; None for one that is damaged."""
    try:
        index = int(row["index"])
        file = folder.maps / Path(row["file"]).name  # whatever the table says, nothing outside is opened
        on_target = {"1": True, "0": False}.get(row["peak_in_truth"])
        label = int(row["label"]) if row["label"] else None
        predicted, target = int(row["predicted"]), int(row["target"])
        flag = str(row["flag"])
        names = ("quality", "energy_in_truth", "num_masks", *MEASURES)
        numbers = {name: number_or_nan(row.get(name)) for name in names}
    except (KeyError, ValueError, TypeError):
        return None
    known = {name: value for name, value in numbers.items() if math.isfinite(value)}
    stored = StoredImage(file, prefix_of(index) if "-" in file.stem else "")
    score, strength = number_or_nan(row.get("score")), number_or_nan(row.get("strength"))
    return MapRow(index, stored, label, predicted, score, target, strength, flag, on_target, known)


def _rows_of_maps(folder: SaliencyFolder) -> Iterable[MapRow | None]:
    stored: dict[int, StoredImage] = {}
    for suffix in ("npz", "part"):
        for file in files_of_images(folder.maps, suffix):
            try:
                stored |= images_in(file)
            except DAMAGED:
                continue
    for place in sorted(stored)[: 4 * MOST_IMAGES]:
        try:
            rows = index_rows(stored[place].explanation(), stored[place].file.name)
        except DAMAGED:
            continue
        for row in rows:
            found = _row({name: str(value) for name, value in row.items()}, folder)
            yield None if found is None else MapRow(**(vars(found) | {"stored": stored[place]}))
