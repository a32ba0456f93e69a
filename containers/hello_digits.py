"""Ten classes of real images, and a model that brings its own optimizer and learning rate schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import param

from runner import LightningContainer

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule


class HelloDigits(LightningContainer):
    """Tell the ten handwritten digits of scikit-learn apart, and show which strokes decided.

    Unlike HelloLesion, the model has a ``configure_optimizers`` of its own, as most Lightning models have. Of the
    optimizer's parameters only ``l_rate`` has an effect then, because it is handed to the model here.
    """

    num_channels = param.Integer(
        default=8, bounds=(1, None), doc="Channels of the first convolution; each next doubles."
    )
    batch_size = param.Integer(default=32, bounds=(2, None), doc="Digits per training step.")

    def __init__(self) -> None:
        super().__init__()
        self.num_epochs = 5
        self.l_rate = 1e-2
        self.saliency_method = "rise"
        self.saliency_num_masks = 300
        self.saliency_grid_size = 5  # cells about as wide as a stroke and its surroundings
        self.saliency_limit = 50  # enough to see each digit about five times

    def create_model(self) -> LightningModule:
        """Return the network."""
        from .hello_digits_parts import DigitsModel

        return DigitsModel(self.num_channels, self.l_rate)

    def get_data_module(self) -> LightningDataModule:
        """Return the digits, which scikit-learn brings along."""
        from .hello_digits_parts import DigitsData

        return DigitsData(self.batch_size)
