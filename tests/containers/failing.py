"""A container whose training raises once, as a kill would, so that resuming can be tried in one process."""

from pathlib import Path

import param
import torch
from containers.plain import Points, WithOptimizer
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, random_split


class FailAtStep(Callback):
    def __init__(self, step, marker):
        self.step, self.marker = step, marker

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step > 0 and not self.marker.exists():
            self.marker.touch()
            raise RuntimeError("failing once")


class Failing(WithOptimizer):
    """A line through points, whose training fails once."""

    fail_at_step = param.Integer(default=13, doc="Global step after which training fails once; 0 for never.")

    def __init__(self):
        super().__init__()
        self.num_epochs = 5
        self.l_rate = 0.03
        self.deterministic = True

    def get_callbacks(self):
        return [FailAtStep(self.fail_at_step, Path("failed_once").absolute())]


class SplitPoints(Points):
    """Splits by the global random generator, as many data modules do."""

    def setup(self, stage):
        super().setup(stage)
        self.parts = random_split(self.points, [20, 20])

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=5)

    def test_dataloader(self):
        Path("tested.txt").write_text(str(sorted(self.parts[1].indices)))
        return DataLoader(self.parts[1], batch_size=5)


class RandomSplit(WithOptimizer):
    """Its data module splits at random in setup."""

    def get_data_module(self):
        return SplitPoints()


class OwnCallbacks(WithOptimizer):
    """Brings a ModelCheckpoint of its own, and returns a single callback."""

    def get_callbacks(self):
        return ModelCheckpoint(dirpath="mine", filename="mine", monitor="val_loss")

    def get_trainer_arguments(self):
        return None


class StepMetric(WithOptimizer):
    """Saves a NumPy number in its checkpoints."""

    def create_model(self):
        import numpy as np

        model = super().create_model()
        model.on_save_checkpoint = lambda checkpoint: checkpoint.update(mine=np.float32(3), tensor=torch.ones(1))
        return model
