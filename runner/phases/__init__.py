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

SHARED_PHASES = {"train": train, "test": test, "saliency": explain}
"""Those in which all processes of a run may have something to do."""

__all__ = ["PHASES", "SHARED_PHASES"]
