"""Two networks with an optimizer each, trained against one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import param

from runner import LightningContainer

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule


class HelloGAN(LightningContainer):
    """Learn to draw points from a ring of eight clusters, with two optimizers and manual optimization.

    ``test_distance`` is how far generated points are from real ones. Compare it with ``test_distance_untrained``, of
    the generator before training, and ``test_distance_real``, of other real points: it cannot get below that.
    """

    num_points = param.Integer(default=8000, bounds=(1, None), doc="Real points to train on.")
    spread = param.Number(default=0.1, bounds=(0, None), doc="Width of a cluster; the ring has radius 1.")
    num_hidden = param.Integer(default=64, bounds=(1, None), doc="Units per hidden layer of both networks.")
    num_latent = param.Integer(default=4, bounds=(1, None), doc="Random numbers that the generator makes a point of.")
    batch_size = param.Integer(default=256, bounds=(1, None), doc="Points per training step.")

    def __init__(self) -> None:
        super().__init__()
        self.num_epochs = 30
        self.l_rate = 1e-3
        self.monitor = "val_distance"  # the losses of a GAN do not say which epoch is the best

    def create_model(self) -> LightningModule:
        """Return generator and discriminator in one module."""
        from .hello_gan_parts import GAN

        return GAN(self.num_hidden, self.num_latent, self.l_rate)

    def get_data_module(self) -> LightningDataModule:
        """Return points, the same ones for the same seed."""
        from .hello_gan_parts import RingData

        return RingData(self.num_points, self.spread, self.batch_size, self.random_seed)

    def create_report(self) -> None:
        """Draw real and generated points into ``points.png`` in the run folder."""
        from .hello_gan_parts import save_picture

        data = self.get_data_module()
        data.setup()
        save_picture("points.png", data.test_points, self.model(self.model.noise))
