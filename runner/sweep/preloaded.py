"""What the warm server imports once for all trials: everything that takes long, and nothing of the user's."""

import pytorch_lightning
import torch

import runner.experiment
import runner.modules
import runner.phases
import runner.sweep.point

__all__ = ["pytorch_lightning", "runner", "torch"]
