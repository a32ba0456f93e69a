"""A small U-Net that trains on patches and is judged on whole images: why there is get_inference_data_module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import param

from runner import LightningContainer, LRSchedulerType

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule
    from torch import Tensor, nn


class Segmentation2D(LightningContainer):
    """Outline closed rings in made images: a U-Net trained on patches, Dice of whole images, saliency of the outlines.

    What is inside a ring looks like what is outside of it, and open rings do not count. A patch that cuts a ring does
    not show which it is: so patches are for training only, and ``get_inference_data_module`` gives whole images.
    """

    num_dimensions = 2

    num_cases = param.Integer(
        default=80, bounds=(5, None), doc="Images to train on; a fifth as many validate, and as many test."
    )
    image_size = param.Integer(default=72, bounds=(16, 1024), doc="Side of an image or volume in pixels.")
    patch_size = param.Integer(default=36, bounds=(8, 1024), doc="Side of the patches to train on; up to image_size.")
    patches_per_case = param.Integer(default=2, bounds=(1, None), doc="Patches of each image in an epoch.")
    ring_radius = param.Integer(default=10, bounds=(3, 100), doc="Greatest radius of a ring in pixels.")
    noise = param.Number(default=0.1, bounds=(0, 1), doc="Noise; the rings are brighter than the rest by 0.4.")
    num_features = param.Integer(default=8, bounds=(1, 256), doc="Channels at full resolution; they double below.")
    num_levels = param.Integer(default=4, bounds=(1, 6), doc="Resolutions of the U-Net, each half of the one above.")
    batch_size = param.Integer(default=4, bounds=(1, None), doc="Patches per training step.")
    num_overlays = param.Integer(default=16, bounds=(0, None), doc="Pictures of the first so many cases of a split.")

    def __init__(self) -> None:
        super().__init__()
        self.num_epochs = 8
        self.l_rate = 1e-2
        self.l_rate_scheduler = LRSchedulerType.Cosine
        self.saliency_method = "rise"
        self.saliency_fill = "mean"
        self.saliency_num_masks = 200
        self.saliency_limit = 4
        self.saliency_checks = []  # deletion and insertion are about the score of a class

    def validate(self) -> None:
        """Check that patches and rings fit into the images."""
        super().validate()
        if self.patch_size > self.image_size:
            raise ValueError(f"patch_size={self.patch_size} must not be above image_size={self.image_size}.")
        if 4 * self.ring_radius >= self.image_size:
            raise ValueError(f"ring_radius={self.ring_radius} must be below a quarter of image_size={self.image_size}.")

        if self.patch_size <= 2 ** (self.num_levels - 1):
            raise ValueError(
                f"num_levels={self.num_levels} halves patch_size={self.patch_size} down to one pixel; at most "
                f"{(self.patch_size - 1).bit_length()} levels fit."
            )

    def create_model(self) -> LightningModule:
        """Return the U-Net, which evaluates itself by ``inference_step``."""
        from .segmentation_parts import SegmentationModel, UNet

        network = UNet(self.num_dimensions, self.num_features, self.num_levels)
        return SegmentationModel(network, self.num_overlays)

    def get_data_module(self) -> LightningDataModule:
        """Return patches, to train and to validate on."""
        from .segmentation_data import PatchData

        return PatchData(
            self._rings(),
            self.num_cases,
            self.random_seed,
            batch_size=self.batch_size,
            patch_size=self.patch_size,
            patches_per_case=self.patches_per_case,
        )

    def get_inference_data_module(self) -> LightningDataModule:
        """Return whole images of the same cases, one by one."""
        from .segmentation_data import WholeData

        return WholeData(self._rings(), self.num_cases, self.random_seed)

    def _rings(self) -> Any:
        from .segmentation_data import Rings

        return Rings((self.image_size,) * self.num_dimensions, self.ring_radius, self.noise)

    def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return how much of each image is outlined: the mean probability of all pixels, float (B, 1).

        So a map shows what makes the model outline more, or less: Seg-Grad-CAM (Vinogradova et al. 2020,
        arXiv:2002.11434) with the set M of all pixels. To ask about one object, take the mean over its pixels instead.
        """
        return model(images).sigmoid().flatten(1).mean(dim=1, keepdim=True)

    def get_saliency_labels(self, batch: Any) -> None:
        """Return None: the second element of a batch is a mask, not a class."""

    def get_saliency_truth(self, batch: Any) -> Tensor:
        """Return what is to be outlined."""
        return batch[1][:, 0].bool()


class Segmentation3D(Segmentation2D):
    """Outline closed shells in made volumes: as Segmentation2D, with one dimension more."""

    num_dimensions = 3

    def __init__(self) -> None:
        super().__init__()
        self.num_cases, self.image_size, self.patch_size, self.ring_radius = 40, 36, 24, 8
        self.patches_per_case, self.batch_size, self.num_epochs = 1, 2, 10
        self.num_features, self.num_levels = 4, 3
        # A volume is explained as an image is; it only takes longer.
        self.saliency_num_masks, self.saliency_grid_size, self.saliency_limit = 100, 5, 2
