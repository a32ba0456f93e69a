"""The data and the model of HelloGAN, apart from the container because they need torch and Lightning."""

from __future__ import annotations

import math
from copy import deepcopy

import pytorch_lightning as pl
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

NUM_COMPARED = 2000
"""Points on either side of each distance that is measured."""


def draw_ring(number: int, spread: float, random: torch.Generator) -> Tensor:
    """Draw points, float (N, 2), from eight normal distributions of width *spread* on a circle of radius 1."""
    angles = torch.randint(8, (number,), generator=random) * (math.pi / 4)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    return centres + spread * torch.randn(number, 2, generator=random)


def distance(first: Tensor, second: Tensor, num_directions: int = 32) -> Tensor:
    """Return how far two sets of points, (N, 2) each, lie apart: the sliced Wasserstein distance.

    Seen from one direction, points are numbers on a line, and the shortest way to move one set of numbers onto another
    is in sorted order. The distance is how far a point moves, on average over points and directions.
    """
    angles = torch.arange(num_directions, device=first.device) * (math.pi / num_directions)
    directions = torch.stack([angles.cos(), angles.sin()])
    return ((first @ directions).sort(dim=0).values - (second @ directions).sort(dim=0).values).abs().mean()


def save_picture(file: str, real: Tensor, generated: Tensor) -> None:
    """Draw real points in grey and generated points in red over them."""
    picture = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(picture)
    for points, colour in ((real, "lightgrey"), (generated, "crimson")):
        for x, y in (200 + 130 * points).tolist():
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    picture.save(file)


class RingData(pl.LightningDataModule):
    """Points on a ring; batches are lists of one tensor, (B, 2)."""

    def __init__(self, num_points: int, spread: float, batch_size: int, seed: int) -> None:
        super().__init__()
        self.num_points, self.spread, self.seed = num_points, spread, seed
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - Lightning passes it
        """Draw the points to train on, and others to compare generated points with."""
        random = torch.Generator().manual_seed(self.seed)
        self.val_points = draw_ring(NUM_COMPARED, self.spread, random)
        self.test_points = draw_ring(2 * NUM_COMPARED, self.spread, random)
        self.train_points = draw_ring(self.num_points, self.spread, random)

    def train_dataloader(self) -> DataLoader:
        """Return the points to train on, in a new order every epoch."""
        return DataLoader(TensorDataset(self.train_points), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return all points as one batch: the distance between a few points would mostly show chance."""
        return DataLoader(TensorDataset(self.val_points), len(self.val_points))

    def test_dataloader(self) -> DataLoader:
        """Return two samples of real points as one batch."""
        return DataLoader(TensorDataset(self.test_points), len(self.test_points))


def perceptron(num_inputs: int, num_hidden: int, num_outputs: int) -> nn.Sequential:
    """Return a network with two hidden layers."""
    return nn.Sequential(
        nn.Linear(num_inputs, num_hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(num_hidden, num_hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(num_hidden, num_outputs),
    )


class GAN(pl.LightningModule):
    """A generator that makes points out of noise, and a discriminator that tells them from real ones."""

    def __init__(self, num_hidden: int, num_latent: int, l_rate: float) -> None:
        super().__init__()
        self.automatic_optimization = False  # training_step steps the two optimizers itself
        self.l_rate, self.num_latent = l_rate, num_latent
        self.generator = perceptron(num_latent, num_hidden, 2)
        self.discriminator = perceptron(2, num_hidden, 1)
        self.untrained = deepcopy(self.generator).requires_grad_(requires_grad=False)
        # The same noise for every evaluation: what changes from epoch to epoch is the generator.
        self.register_buffer("noise", torch.randn(NUM_COMPARED, num_latent))

    def forward(self, noise: Tensor) -> Tensor:
        """Return points, (B, 2), made out of *noise*, (B, num_latent)."""
        return self.generator(noise)

    def training_step(self, batch: list[Tensor]) -> None:
        """Improve the discriminator on one batch, then the generator against the better discriminator."""
        (real,) = batch
        generator_optimizer, discriminator_optimizer = self.optimizers()
        made = self(torch.randn(len(real), self.num_latent, device=self.device))

        # softplus(-score) is the loss where a point should be taken for real, softplus(score) where for made.
        d_loss = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(made.detach())).mean()
        discriminator_optimizer.zero_grad()
        self.manual_backward(d_loss)
        discriminator_optimizer.step()

        g_loss = softplus(-self.discriminator(made)).mean()
        generator_optimizer.zero_grad()
        self.manual_backward(g_loss)
        generator_optimizer.step()
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, on_step=False, on_epoch=True, prog_bar=True)

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log how far generated points are from real ones: unlike the two losses, it falls as the GAN learns."""
        (real,) = batch
        self.log("val_distance", distance(self(self.noise), real), prog_bar=True, sync_dist=True)

    def test_step(self, batch: list[Tensor]) -> None:
        """Log the distance, and two to compare it with: before training, and between two samples of real points."""
        real, other = batch[0].chunk(2)
        self.log("test_distance", distance(self(self.noise), real))
        self.log("test_distance_untrained", distance(self.untrained(self.noise), real))
        self.log("test_distance_real", distance(other, real))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one optimizer for the generator and one for the discriminator, in this order."""
        parts = (self.generator, self.discriminator)
        return [torch.optim.Adam(part.parameters(), self.l_rate, betas=(0.5, 0.99)) for part in parts]
