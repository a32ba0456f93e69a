"""Which images a data set has, and what is known of each, from one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ParameterError, did_you_mean
from runner.plain_text import clipped, escaped

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")
"""Endings of the names of image files, in any case."""


@dataclass(frozen=True)
class LabelledImage:
    """One image of a data set."""

    path: Path
    name: str
    """As the labels file has it, or the path below the data set's folder."""
    label: int
    """Which of the table's classes."""
    group: str
    """What must not be divided between training and test: the patient, or the image itself."""
    frame: int | None = None
    """Which slice of a volume; None: the one that :func:`runner.images.read_image` takes by itself."""


@dataclass(frozen=True)
class ImageTable:
    """All images of a data set, in a fixed order."""

    images: list[LabelledImage]
    classes: list[str]


def read_class_folders(folder: Path, class_names: Sequence[str] = ()) -> ImageTable:
    """Return the images in the folders of *folder*, whose names are the classes.

    Files whose names end in none of ``SUFFIXES`` are left out. Symbolic links are followed, but not in circles.

    Args:
        folder: The data set.
        class_names: The classes in order; empty: sorted.

    Raises:
        ParameterError: there are fewer than two classes, one has no images, or a file is in two of them by a link.
    """
    found = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if len(found) < 2:
        raise ParameterError(f"local_dataset: {shown(folder)} has neither a labels file nor a folder for each class.")
    classes = ordered_classes(found, class_names, f"the folders of {shown(folder)}")
    images: dict[Path, LabelledImage] = {}
    for label, name in enumerate(classes):
        files = sorted(image_files(folder / name, {Path(os.path.realpath(folder))}))
        if not files:
            raise ParameterError(f"local_dataset: {shown(folder / name)}, the folder of a class, holds no images.")
        for path in files:
            below = str(path.relative_to(folder))
            first = images.setdefault(Path(os.path.realpath(path)), LabelledImage(path, below, label, below))
            if first.label != label:
                raise ParameterError(
                    f"local_dataset: {quoted(first.name)} and {quoted(below)} are one file in two classes."
                )
    return ImageTable(list(images.values()), classes)


def image_files(folder: Path, visited: set[Path]) -> Iterator[Path]:
    """Yield the image files below *folder*, going by their names; hidden ones are left out.

    No folder is looked into twice, whatever links lead to it; *visited* are those that were.
    """
    real = Path(os.path.realpath(folder))
    if real in visited:
        return
    visited.add(real)
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_symlink(), path)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from image_files(path, visited)
        elif path.name.lower().endswith(SUFFIXES):
            yield path


def ordered_classes(found: Iterable[str], class_names: Sequence[str], where: str) -> list[str]:
    """Return the classes in the order of *class_names*, or sorted, as numbers if they are numbers.

    Raises:
        ParameterError: *class_names* lacks one, or has one that is nowhere or twice.
    """
    known = set(found)
    if not class_names:
        return sorted(known, key=_order)
    for name in class_names:
        if name not in known:
            raise ParameterError(
                f"class_names: {where} have no {quoted(name)}.{did_you_mean(name, map(escaped, known))}"
            )
    missing = sorted(known - set(class_names))
    if missing:
        raise ParameterError(f"class_names: {quoted(missing[0])} is missing, which {where} have.")
    if len(class_names) != len(known):
        raise ParameterError(f"class_names: a name is there twice in {', '.join(map(quoted, class_names))}.")
    return list(class_names)


def _order(name: str) -> tuple[int, int, str]:
    is_number = name.isdecimal() and len(name) < 1000  # int() refuses more than 4300 digits
    return (0, int(name), name) if is_number else (1, 0, name)


def shown(path: Path) -> str:
    """Return a path for a message, without what a terminal would obey."""
    return clipped(escaped(str(path)), 200)


def quoted(text: str) -> str:
    """Return a text of somebody else's file for a message."""
    return f"'{clipped(escaped(text), 60)}'"
