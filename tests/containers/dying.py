"""A container that sends its own process a signal at a given step, once."""

import os
from pathlib import Path

import param
from containers.plain import WithOptimizer
from pytorch_lightning import Callback


class SignalAtStep(Callback):
    def __init__(self, step, number, marker):
        self.step, self.number, self.marker = step, number, marker

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), self.number)


class Dying(WithOptimizer):
    """A line through points, whose training sends itself a signal."""

    die_at_step = param.Integer(default=13, doc="Global step after which the signal is sent; 0 for never.")
    signal_number = param.Integer(default=9, doc="The signal.")

    def __init__(self):
        super().__init__()
        self.num_epochs = 5
        self.l_rate = 0.03
        self.deterministic = True

    def get_callbacks(self):
        return [SignalAtStep(self.die_at_step, self.signal_number, Path("died").absolute())]


class SignalInValidation(Callback):
    def __init__(self, marker):
        self.marker = marker

    def on_validation_start(self, trainer, *_):
        if trainer.current_epoch == 1 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), 15)


class StoppedInValidation(WithOptimizer):
    """A line through points, which gets SIGTERM in its second validation."""

    def __init__(self):
        super().__init__()
        self.num_epochs = 3

    def get_callbacks(self):
        return [SignalInValidation(Path("stopped").absolute())]
