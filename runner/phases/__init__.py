"""The phases of a run, in their order. Each is one function from a ``Run`` to a ``PhaseResult``."""

from collections.abc import Callable

from runner.phases.explaining import explain
from runner.phases.inference import infer
from runner.phases.testing import test
from runner.phases.training import train
from runner.run_state import PhaseResult, Run

PHASES: dict[str, Callable[[Run], PhaseResult]] = {
    "train": train,
    "test": test,
    "inference": infer,
    "saliency": explain,
}

__all__ = ["PHASES"]
