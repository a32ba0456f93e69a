"""Lightcase: train, test and explain PyTorch Lightning models. Names are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from runner.version import __version__

if TYPE_CHECKING:
    from runner.browser.listing import runs
    from runner.container import LightningContainer
    from runner.experiment import RunResult
    from runner.modules import InnerEyeInference, LightningModuleWithOptimizer, ModelExecutionMode
    from runner.params import (
        DatasetParams,
        LRSchedulerType,
        LRWarmUpType,
        OptimizerParams,
        OptimizerType,
        SaliencyParams,
        TrainerParams,
        WorkflowParams,
    )
    from runner.run_function import run
    from runner.saliency.direct import explain

_HOMES = {
    "LightningContainer": "runner.container",
    "LightningModuleWithOptimizer": "runner.modules",
    "InnerEyeInference": "runner.modules",
    "ModelExecutionMode": "runner.modules",
    "RunResult": "runner.experiment",
    "explain": "runner.saliency.direct",
    "run": "runner.run_function",
    "runs": "runner.browser.listing",
    "WorkflowParams": "runner.params",
    "DatasetParams": "runner.params",
    "TrainerParams": "runner.params",
    "OptimizerParams": "runner.params",
    "OptimizerType": "runner.params",
    "LRSchedulerType": "runner.params",
    "LRWarmUpType": "runner.params",
    "SaliencyParams": "runner.params",
}

__all__ = [
    "DatasetParams",
    "InnerEyeInference",
    "LRSchedulerType",
    "LRWarmUpType",
    "LightningContainer",
    "LightningModuleWithOptimizer",
    "ModelExecutionMode",
    "OptimizerParams",
    "OptimizerType",
    "RunResult",
    "SaliencyParams",
    "TrainerParams",
    "WorkflowParams",
    "__version__",
    "explain",
    "run",
    "runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'runner' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
