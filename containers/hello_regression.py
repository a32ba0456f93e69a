"""Regression without images: data from a file, cross validation, the runner's optimizers, a report of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import param

from runner import LightningContainer, LRSchedulerType

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

    from .hello_regression_parts import CurveData

POINTS_FILE = "points.csv"
REPORT_FILE = "report.txt"


class HelloRegression(LightningContainer):
    """Fit a curve to noisy points, with optimizer, learning rate schedule and cross validation of the runner.

    The points are a noisy sine wave, or those of ``points.csv`` (first line ``x,y``) in the folder ``local_dataset``.
    """

    num_points = param.Integer(default=500, bounds=(10, None), doc="Points to make; unused with local_dataset.")
    noise = param.Number(default=0.1, bounds=(0, None), doc="Size of the points' errors; unused with local_dataset.")
    num_hidden = param.Integer(default=32, bounds=(1, None), doc="Units per hidden layer of the network.")
    batch_size = param.Integer(default=32, bounds=(1, None), doc="Points per training step.")

    def __init__(self) -> None:
        super().__init__()
        self.num_epochs = 40
        # The model is a LightningModuleWithOptimizer: these and all other parameters of the optimizer have an effect.
        self.l_rate = 2e-2
        self.l_rate_scheduler = LRSchedulerType.Cosine

    def validate(self) -> None:
        """Find a missing file now, not when the run has begun."""
        super().validate()
        if self.local_dataset is not None and not (self.local_dataset / POINTS_FILE).is_file():
            raise ValueError(f"local_dataset: there is no {POINTS_FILE} in {self.local_dataset}.")

    def create_model(self) -> LightningModule:
        """Return the network."""
        from .hello_regression_parts import CurveModel

        return CurveModel(self.num_hidden)

    def get_data_module(self) -> CurveData:
        """Return the points, divided for this fold of a cross validation, or once and for all outside of one."""
        from .hello_regression_parts import CurveData, make_points, read_points

        if self.local_dataset is not None:
            points = read_points(self.local_dataset / POINTS_FILE)
        else:
            # random_seed is the same in all folds, so all folds divide the same points.
            points = make_points(self.num_points, self.noise, self.random_seed)
        if self.is_cross_validation_fold:
            fold, num_folds = self.cross_validation_split_index, self.number_of_cross_validation_splits
        else:
            fold, num_folds = 0, 5
        return CurveData(points, fold, num_folds, self.batch_size)

    def create_report(self) -> None:
        """Write the error on the test points into ``report.txt`` in the run folder, which is the working directory."""
        data = self.get_data_module()
        data.setup()
        x, y = data.test.tensors
        errors = (self.model(x.to(self.model.device)).cpu() - y).abs()
        Path(REPORT_FILE).write_text(
            f"Test points: {len(x)}\n"
            f"Mean absolute error: {errors.mean():.4f}\n"
            f"Largest absolute error: {errors.max():.4f}, at x = {x[errors.argmax()].item():.4f}\n",
            encoding="utf-8",
        )
