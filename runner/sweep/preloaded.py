"""What the warm server imports once for all trials: everything that takes long, and nothing of the user's."""

import importlib
import importlib.util

import pytorch_lightning
import torch

import runner.experiment
import runner.logger_uploads
import runner.modules
import runner.phases
import runner.reports.page
import runner.sweep.point
from runner.environment import installed_versions
from runner.html_page import compile_templates
from runner.reports.page import STYLES, TEMPLATE

__all__ = ["pytorch_lightning", "runner", "torch"]

for name in ("omegaconf", "tensorboard"):  # Lightning imports these when a Trainer or a logger is made
    if importlib.util.find_spec(name) is not None:
        importlib.import_module({"tensorboard": "torch.utils.tensorboard"}.get(name, name))
installed_versions()  # which remembers them
compile_templates(TEMPLATE, *STYLES)  # a third of a tiny trial's time
