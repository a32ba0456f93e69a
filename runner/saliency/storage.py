"""The saliency folder of a run: one file per image, written whole, and the table of all of them."""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, overload

import numpy as np

from runner.atomic_files import atomic_file, write_json, write_text
from runner.saliency.explanation import Explanation

log = logging.getLogger(__name__)

COLUMNS = (
    "index", "file", "label", "predicted", "score", "target", "strength", "flag",
    "peak_row", "peak_col", "peak_in_truth", "energy_in_truth",
)  # fmt: skip

DAMAGED = (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are not whole."""


class SaliencyFolder:
    """The files of the saliency phase. Every name in the folder is spelled here.

    ``maps/000012.npz`` holds the image with index 12: each field of
    :class:`~runner.saliency.explanation.Explanation` that is not None, under its own name, readable with numpy alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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
        """Table with one row per map."""
        return self.path / "index.csv"

    @property
    def contact_sheet(self) -> Path:
        """Picture of many images."""
        return self.path / "contact_sheet.png"

    @property
    def settings(self) -> Path:
        """What the maps were made with."""
        return self.path / "settings.json"

    def map_file(self, index: int) -> Path:
        """Return the file of the maps of one image."""
        return self.maps / f"{index:06d}.npz"

    def overlay_file(self, index: int) -> Path:
        """Return the picture of one image."""
        return self.overlays / f"{index:06d}.png"

    def open(self, settings: Mapping[str, Any]) -> set[int]:
        """Make the folder ready and return the indices of the images that need not be explained again.

        Maps that were made with other settings, and files that cannot be read, are removed.

        Args:
            settings: What decides how the maps come out, for JSON.
        """
        for folder in (self.maps, self.overlays):
            folder.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(settings, default=str))
        known = json.loads(self.settings.read_text(encoding="utf-8")) if self.settings.is_file() else None
        if known is not None and known != wanted:
            changed = sorted(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
            log.info("saliency: all maps are made anew, %s changed", ", ".join(changed))
            self._clear()
        write_json(self.settings, wanted)
        return {index for index in _indices(self.maps) if self._is_whole(index)}

    def write(self, explanation: Explanation) -> None:
        """Write the file of one image, whole or not at all."""
        values = {each.name: getattr(explanation, each.name) for each in fields(explanation)}
        with atomic_file(self.map_file(explanation.index)) as file:
            np.savez_compressed(file, **{name: value for name, value in values.items() if value is not None})

    def read(self, index: int) -> Explanation:
        """Return what the file of one image holds.

        Raises:
            Exception: one of ``DAMAGED``, if the file is missing, damaged, or holds something else.
        """
        with np.load(self.map_file(index), allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        for name in ("index", "label"):
            values[name] = int(values[name])
        return Explanation(**values)

    def index_rows(self, explanation: Explanation) -> list[dict[str, Any]]:
        """Return the rows of the table for one image, one per map; empty where there is nothing to say."""
        file = self.map_file(explanation.index).relative_to(self.path).as_posix()
        return [_index_row(explanation, place, file) for place in range(len(explanation.targets))]

    def write_index(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the table from the rows of all images."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.index, text.getvalue())

    def _is_whole(self, index: int) -> bool:
        try:
            found: object = self.read(index).index
        except DAMAGED as error:
            found = error
        if found == index:
            return True
        log.warning("saliency: %s is damaged and made anew (%s)", self.map_file(index).name, found)
        self.map_file(index).unlink()
        return False

    def _clear(self) -> None:
        for folder, suffix in ((self.maps, "npz"), (self.overlays, "png")):
            for file in folder.glob(f"*.{suffix}"):
                file.unlink()


class SavedMaps(Sequence[Explanation]):
    """The explanations in a saliency folder in the order of the data set, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._folder = SaliencyFolder(path)
        self._indices = sorted(_indices(self._folder.maps))

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> Explanation: ...
    @overload
    def __getitem__(self, place: slice) -> list[Explanation]: ...
    def __getitem__(self, place: int | slice) -> Explanation | list[Explanation]:
        if isinstance(place, slice):
            return [self._folder.read(index) for index in self._indices[place]]
        return self._folder.read(self._indices[place])


def _index_row(explanation: Explanation, place: int, file: str) -> dict[str, Any]:
    row, column = explanation.peak(place) or ("", "")
    in_truth, energy = explanation.peak_in_truth(place), explanation.energy_in_truth(place)
    return {
        "index": explanation.index,
        "file": file,
        "label": "" if explanation.label < 0 else explanation.label,
        "predicted": explanation.predicted,
        "score": f"{explanation.predicted_score:.6g}",
        "target": int(explanation.targets[place]),
        "strength": f"{explanation.strength[place]:.6g}",
        "flag": str(explanation.flags[place]),
        "peak_row": row,
        "peak_col": column,
        "peak_in_truth": "" if in_truth is None else int(in_truth),
        "energy_in_truth": "" if energy is None else f"{energy:.6g}",
    }


def _indices(folder: Path) -> Iterator[int]:
    return (int(file.stem) for file in folder.glob("*.npz") if file.stem.isdigit())
