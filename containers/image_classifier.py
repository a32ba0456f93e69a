"""Images of your own: a folder with a CSV file of labels, or one folder per class. See docs/jobs.md."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import param

from runner import LightningContainer, LRSchedulerType
from runner.params.kinds import path_parameter

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule

    from runner.images import ImageTable


_NEEDED = {
    "monai": {"monai": "pip install monai"},
    "timm": dict.fromkeys(
        ("timm", "torchvision"),
        "pip install timm torchvision, from the index that pytorch.org names for your torch; others break Lightning",
    ),
}
"""Packages that the networks of a package take, and how to get them."""


class ImageClassifier(LightningContainer):
    """Tell classes of images apart: PNG, JPEG, TIFF, DICOM and NIfTI files, with labels in a CSV file or as folders.

    python runner.py --model=ImageClassifier --local_dataset=FOLDER
    """

    needs_local_dataset = True
    fixed_on_resume = (
        *("class_names", "val_share", "test_share", "split_seed", "image_size", "image_channels", "image_window"),
        *("number_of_cross_validation_splits", "cross_validation_split_index"),
    )

    labels_file = param.String(
        default="labels.csv",
        doc="CSV file in local_dataset. Where there is none, each folder in local_dataset is a class.",
    )
    image_folder = param.String(
        default="", doc="Folder in local_dataset that the names in labels_file are relative to."
    )
    image_column = param.String(default="image", doc="Column of the images; endings like .jpg may be left out.")
    label_column = param.String(default="label", doc="Column of the classes.")
    group_column = param.String(
        default=None,
        allow_None=True,
        doc="Column of the patients, none of whom gets into two parts. None: patient, patient_id or group, if there.",
    )
    slice_column = param.String(default="slice", doc="Column of the slices of volumes, from 0; it need not be there.")
    class_names = param.List(
        default=[],
        item_type=str,
        doc="The classes in order; of two, AUC and sensitivity are about the second. Empty: sorted.",
    )
    val_share = param.Number(default=0.15, bounds=(0, 0.5), inclusive_bounds=(False, True), doc="Part to validate on.")
    test_share = param.Number(default=0.15, bounds=(0, 0.5), inclusive_bounds=(False, True), doc="Part to test on.")
    split_seed = param.Integer(
        default=0, bounds=(0, None), doc="Decides who is in which part; random_seed does not, so that runs compare."
    )

    image_size = param.Integer(
        default=128, bounds=(16, 4096), doc="Images become squares of this side; black is added."
    )
    image_channels = param.Selector(default=3, objects=[1, 3], doc="1: grey. 3: colours.")
    image_window = param.NumericTuple(
        default=None,
        length=2,
        allow_None=True,
        doc="Centre and width of the values shown, such as 40,400 (HU). None: the file's own, see docs/jobs.md.",
    )
    image_cache = path_parameter(doc="Folder to keep decoded and scaled images in, for all runs. None: in memory.")
    unreadable_images = param.Selector(
        default="list", objects=["list", "fail"], doc="list: leave them out and list them. fail: stop the run."
    )

    augment_flips = param.Selector(
        default="horizontal", objects=["none", "horizontal", "both"], doc="Mirror every second training image."
    )
    augment_rotation = param.Number(default=15.0, bounds=(0, 180), doc="Turn training images by up to so many degrees.")
    augment_color = param.Number(
        default=0.1, bounds=(0, 1), doc="Change brightness, contrast and colour by up to this."
    )

    architecture = param.String(
        default="small", doc="small: a CNN of 0.2 million weights. timm/NAME or monai/NAME: a model of theirs."
    )
    pretrained = param.Boolean(default=False, doc="timm/NAME: begin with trained weights, which timm downloads.")
    num_features = param.Integer(default=16, bounds=(1, 512), doc="small: channels of the first layer.")
    focal_gamma = param.Number(
        default=2.0, bounds=(0, 10), doc="Focal loss: how much less sure images count. 0: cross-entropy."
    )
    class_weights = param.String(
        default="balanced", doc="Weight of each class in the loss: balanced, none, or numbers such as 1,5."
    )
    specificity = param.Number(
        default=0.9, bounds=(0, 1), inclusive_bounds=(False, False), doc="At which the sensitivity is measured."
    )
    batch_size = param.Integer(default=32, bounds=(2, None), doc="Images per training step.")

    def __init__(self) -> None:
        super().__init__()
        self.num_epochs = 15
        self.l_rate = 3e-3
        self.l_rate_scheduler = LRSchedulerType.Cosine
        self.saliency_method = "rise"
        self.saliency_fill = "mean"
        self.saliency_num_masks = 300
        self.saliency_limit = 32

    def validate(self) -> None:
        """Read the labels now, so that mistakes in them are found before the run begins."""
        super().validate()
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share leave nothing to train on.")
        if self.image_window is not None and not (
            all(map(math.isfinite, self.image_window)) and self.image_window[1] > 0
        ):
            raise ValueError(f"image_window={self.image_window}: both must be numbers, and the width must be above 0.")
        self._check_architecture()
        if self.local_dataset is not None and self.local_dataset.exists():  # else the runner says so
            self._read_weights(len(self._read_table().classes))

    def setup(self) -> None:
        """Read and divide the images; write who is in which part, and what cannot be read, into the run folder."""
        from runner.images import ImageForm

        from .image_classifier_data import read_parts

        self._parts = read_parts(
            self._read_table(),
            ImageForm(self.image_size, self.image_channels, self.image_window),
            cache_folder=self.image_cache,
            shares=(self.val_share, self.test_share),
            seed=self.split_seed,
            fold=self.cross_validation_split_index if self.is_cross_validation_fold else None,
            num_folds=self.number_of_cross_validation_splits,
            may_leave_out=self.unreadable_images == "list",
        )

    def create_model(self) -> LightningModule:
        """Return the network with its loss."""
        from .image_classifier_model import ClassifierModel, ImageSettings
        from .image_classifier_networks import create_network

        num_classes = len(self._parts.classes)
        network = create_network(
            self.architecture, self.image_channels, num_classes, self.num_features, pretrained=self.pretrained
        )
        weights = self._read_weights(num_classes) or self._parts.balanced_weights()
        settings = ImageSettings(self._parts.classes, self.image_size, self.image_channels, self.image_window)
        return ClassifierModel(
            network, weights, self.focal_gamma, self.specificity, settings, may_resize=self.load_weights_only
        )

    def get_data_module(self) -> LightningDataModule:
        """Return the images, divided into parts."""
        from .image_classifier_data import Augmentation, ImageData

        augmentation = Augmentation(self.augment_flips, self.augment_rotation, self.augment_color)
        return ImageData(self._parts, augmentation, self.batch_size, self.effective_random_seed)

    def _check_architecture(self) -> None:
        """Find here what needs no torch: whether the package is there."""
        package, separator, name = self.architecture.partition("/")
        if self.architecture != "small" and not (package in ("timm", "monai") and separator and name):
            raise ValueError(f"architecture: small, timm/NAME or monai/NAME, not {self.architecture!r}.")
        for needed, how in _NEEDED.get(package, {}).items():
            if find_spec(needed) is None:
                raise ValueError(f"architecture={self.architecture} needs {needed}: {how}")
        if self.pretrained and package != "timm":
            raise ValueError(f"pretrained: there are trained weights for timm/NAME, not for {self.architecture}.")

    def _read_table(self) -> ImageTable:
        from runner.images import LabelColumns, read_class_folders, read_labels_file

        folder = self.local_dataset
        if not folder.is_dir():
            raise ValueError(f"local_dataset: {folder} is no folder.")
        file = folder / self.labels_file
        if not file.is_file():
            if self.labels_file != type(self).labels_file:
                raise ValueError(f"labels_file: there is no {self.labels_file} in {folder}.")
            return read_class_folders(folder, self.class_names)
        columns = LabelColumns(self.image_column, self.label_column, self.group_column, self.slice_column)
        return read_labels_file(file, folder / self.image_folder, columns, self.class_names)

    def _read_weights(self, num_classes: int) -> list[float]:
        """Return the numbers of ``class_weights``, or nothing for ``balanced``."""
        if self.class_weights in ("balanced", "none"):
            return [1.0] * num_classes if self.class_weights == "none" else []
        try:
            weights = [float(part) for part in self.class_weights.strip("[]").split(",")]
        except ValueError:
            weights = []
        if len(weights) != num_classes or not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(
                f"class_weights: balanced, none, or {num_classes} numbers above 0 like 1,5, not {self.class_weights!r}."
            )
        return weights
