"""Images on disk: reading, labels, splits, a cache. It needs no torch; containers of your own may import all of it."""

from __future__ import annotations

from runner.images.cache import ImageCache
from runner.images.labels import ImageTable, LabelledImage, read_class_folders
from runner.images.labels_file import LabelColumns, read_labels_file
from runner.images.library import ImageLibrary, report_unreadable, write_csv
from runner.images.pixels import UnreadableImageError
from runner.images.readers import ImageForm, read_image
from runner.images.splits import split_groups

__all__ = [
    "ImageCache",
    "ImageForm",
    "ImageLibrary",
    "ImageTable",
    "LabelColumns",
    "LabelledImage",
    "UnreadableImageError",
    "read_class_folders",
    "read_image",
    "read_labels_file",
    "report_unreadable",
    "split_groups",
    "write_csv",
]
