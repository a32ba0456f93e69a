"""Which of the processes of a run this one is, as its environment tells before there is a Trainer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UsageError
from runner.run_folder import RUN_FOLDER_VARIABLE

PHASE_VARIABLE = "LIGHTCASE_PHASE"
"""Environment variable that tells a process that it was started for one phase of a run."""

_NO_STEPS = ("bash", "interactive")
"""Names of Slurm jobs in which Lightning starts processes itself, as it does outside of Slurm."""


@dataclass(frozen=True)
class Place:
    """The place of this process among those of a run."""

    local_rank: int = 0
    """Number of this process on its machine."""
    node_rank: int = 0
    """Number of its machine."""
    rank: int | None = None
    """Its number among all, where torchrun, Slurm or AzureML started them; else it follows from the two above."""
    world_size: int | None = None
    """How many processes there are; None where only the Trainer knows."""
    joined: Path | None = None
    """The run folder, in a process that the first one of its machine has started for :attr:`phase`."""
    phase: str | None = None
    """The phase that such a process takes part in."""

    @property
    def is_first(self) -> bool:
        """Whether this process makes the run folder and does alone what only one can do."""
        return not (self.local_rank or self.node_rank or self.rank)

    @property
    def is_started_outside(self) -> bool:
        """Whether somebody else, such as torchrun or Slurm, has started all processes of the run."""
        return self.rank is not None

    def rank_among(self, per_machine: int) -> int:
        """Return the number of this process among all.

        Args:
            per_machine: How many processes each machine has.
        """
        return self.rank if self.rank is not None else self.node_rank * per_machine + self.local_rank


def find_place() -> Place:
    """Return the place of this process: that of torchrun, of Slurm's ``srun``, or of Lightning's own variables.

    Raises:
        UsageError: a variable is no number.
    """
    local_rank, node_rank = _number("LOCAL_RANK"), _number("NODE_RANK", _number("GROUP_RANK"))
    phase, folder = os.environ.get(PHASE_VARIABLE), os.environ.get(RUN_FOLDER_VARIABLE)
    if phase and folder and local_rank:
        return Place(local_rank, node_rank, joined=Path(folder), phase=phase)
    if _number("WORLD_SIZE") > 1 and {"RANK", "LOCAL_RANK"} <= os.environ.keys():
        return Place(local_rank, node_rank, _number("RANK"), _number("WORLD_SIZE"))
    is_step = os.environ.get("SLURM_JOB_NAME") not in _NO_STEPS and "SLURM_PROCID" in os.environ
    if _number("SLURM_NTASKS") > 1 and is_step:
        rank, size = _number("SLURM_PROCID"), _number("SLURM_NTASKS")
        return Place(_number("SLURM_LOCALID"), _number("SLURM_NODEID"), rank, size)
    return Place(local_rank, node_rank)


def _number(variable: str, default: int = 0) -> int:
    text = os.environ.get(variable, "")
    if text and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"{variable}={text}: it must be a whole number.")
    return int(text) if text else default
