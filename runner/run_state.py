"""What the phases of one run share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_lightning import LightningDataModule, LightningModule

    from runner.container import LightningContainer
    from runner.run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One run on its way through the phases. All paths are absolute; the working directory is the run folder."""

    container: LightningContainer
    folder: RunFolder
    model: LightningModule
    data: LightningDataModule | None
    resume_checkpoint: Path | None = None
    """Where training goes on from, after ``--resume``."""
    quiet: bool = False
    _inference_data: LightningDataModule | None = field(default=None, repr=False)

    @property
    def inference_data(self) -> LightningDataModule | None:
        """The data module for inference and saliency; the one of training unless the container overrides it."""
        from runner.container import LightningContainer

        overridden = type(self.container).get_inference_data_module is not LightningContainer.get_inference_data_module
        if not overridden:
            return self.data
        if self._inference_data is None:
            self._inference_data = self.container.get_inference_data_module()
        return self._inference_data


@dataclass(frozen=True)
class PhaseResult:
    """What a phase has to say: its metrics, or why it did not apply."""

    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None
    """The reason why there was nothing to do; None when the phase ran."""
