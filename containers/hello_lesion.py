"""The first run: a model that finds lesions, and maps that show where it looked. Start reading here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import param

from runner import LightningContainer, LRSchedulerType

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule
    from torch import Tensor


class HelloLesion(LightningContainer):
    """Find a lesion planted in patches of a real photograph of a retina, and show where the model looked.

    The photograph is real (scikit-image's, of a healthy eye, CC0); the lesions are not. They are dark red spots planted
    into every second patch, so it is known where the evidence lies, and the saliency maps can be marked against it.
    """

    # Every parameter can be set from the command line (--num_layers=7) and in YAML (num_layers: 7).
    lesion_contrast = param.Number(
        default=0.5, bounds=(0, 1), doc="How much darker than its surroundings the strongest lesion is; 0.2 is hard."
    )
    lesion_radius = param.Integer(default=5, bounds=(2, 16), doc="Radius of a lesion in pixels; a patch has 48 x 48.")
    num_patches = param.Integer(
        default=1000, bounds=(10, None), doc="Patches to train on; a fifth as many validate, and as many test."
    )
    num_layers = param.Integer(default=4, bounds=(1, None), doc="Convolutions of the network.")
    num_channels = param.Integer(default=8, bounds=(1, None), doc="Channels of each convolution.")
    batch_size = param.Integer(default=50, bounds=(1, None), doc="Patches per training step.")

    def __init__(self) -> None:
        """Set what every container has to values that suit this one; the command line can still change them."""
        super().__init__()
        self.num_epochs = 8
        self.l_rate = 5e-3
        self.l_rate_scheduler = LRSchedulerType.Cosine
        self.saliency_method = "rise"
        self.saliency_num_masks = 300
        # Hide parts of a patch under its average colour. Black, the usual choice, would look like one more lesion.
        self.saliency_fill = "mean"
        # Always ask "what speaks for a lesion?". The class predicted for a healthy patch is about no place in it.
        self.saliency_targets = [1]
        self.saliency_limit = 64

    def create_model(self) -> LightningModule:
        """Return the network. torch is imported here and not above, so that ``--help`` answers at once."""
        from .hello_lesion_parts import LesionModel

        return LesionModel(self.num_layers, self.num_channels)

    def get_data_module(self) -> LightningDataModule:
        """Return the patches, the same ones for the same seed."""
        from .hello_lesion_parts import Lesion, LesionData

        lesion = Lesion(self.lesion_contrast, self.lesion_radius)
        return LesionData(lesion, self.num_patches, self.batch_size, self.random_seed)

    def get_saliency_truth(self, batch: Any) -> Tensor | None:
        """Return where the lesions were planted, so that the report can say how often a map peaks inside one."""
        _, _, masks = batch
        return masks
