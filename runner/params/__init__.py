"""The settings every container has, one theme per module, each declared once with its default, bounds and doc."""

from runner.params.dataset import DatasetParams
from runner.params.optimizer import LRSchedulerType, LRWarmUpType, OptimizerParams, OptimizerType
from runner.params.saliency import SaliencyParams
from runner.params.trainer import TrainerParams
from runner.params.workflow import WorkflowParams

GROUPS = (WorkflowParams, DatasetParams, TrainerParams, OptimizerParams, SaliencyParams)
"""The groups in the order in which help and the record of a run show them."""

__all__ = [
    "GROUPS",
    "DatasetParams",
    "LRSchedulerType",
    "LRWarmUpType",
    "OptimizerParams",
    "OptimizerType",
    "SaliencyParams",
    "TrainerParams",
    "WorkflowParams",
]
