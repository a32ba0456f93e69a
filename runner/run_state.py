"""What the phases of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import RunFailedError
from runner.places import Place
from runner.stop_signals import StopSignals

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_lightning import LightningDataModule, LightningModule
    from pytorch_lightning.loggers import Logger

    from runner.container import LightningContainer
    from runner.run_folder import RunFolder


def checked_data_module(data: Any, method: str) -> LightningDataModule | None:
    """Return what *method* of the container returned, if it is a data module or None.

    Raises:
        RunFailedError: it is something else.
    """
    from pytorch_lightning import LightningDataModule

    if data is None:
        return None
    if not isinstance(data, LightningDataModule):
        raise RunFailedError(f"{method}() returned a {type(data).__name__}, no LightningDataModule.")
    if not hasattr(data, "_log_hyperparams"):  # the examples on InnerEye's page leave super().__init__() out
        LightningDataModule.__init__(data)
    return data


@dataclass
class Run:
    """One run on its way through the phases. All paths are absolute; the working directory is the run folder."""

    container: LightningContainer
    folder: RunFolder
    model: LightningModule
    data: LightningDataModule | None
    place: Place = field(default_factory=Place)
    """Which of the processes of the run this one is."""
    resume_checkpoint: Path | None = None
    """Where training goes on from, after ``--resume``."""
    extends: bool = False
    """Whether the run had come to its end and was given more to train."""
    stop: StopSignals = field(default_factory=StopSignals)
    loggers: list[Logger] = field(default_factory=list)
    """Lightning's loggers, made for training and used on by the test."""
    on_found_values: Callable[[dict[str, Any]], None] = field(default=lambda values: None)
    """Called with the values that Lightning's tuner found and put into the container."""
    set_by: dict[str, str] = field(default_factory=dict)
    """Who set each parameter that is not at its default."""
    on_epoch_finished: Callable[[int], None] = field(default=lambda epochs: None)
    """Called with the number of epochs that last.ckpt holds, whenever it was written."""
    should_prune: Callable[[int], bool] | None = None
    """In a sweep with a pruner: tells before each epoch, counted from 0, whether the trial is to end there."""
    weights_from: str | None = None
    """Which weights the model holds, once they were chosen for what comes after training."""
    _inference_data: LightningDataModule | None = field(default=None, repr=False)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model learns, or holds fixed."""
        return sum(each.numel() for each in self.model.parameters())

    @property
    def inference_data(self) -> LightningDataModule | None:
        """The data module for inference and saliency; the one of training unless the container overrides it."""
        from runner.container import LightningContainer

        overridden = type(self.container).get_inference_data_module is not LightningContainer.get_inference_data_module
        if not overridden:
            return self.data
        if self._inference_data is None:
            data = self.container.get_inference_data_module()
            self._inference_data = checked_data_module(data, "get_inference_data_module")
        return self._inference_data


@dataclass(frozen=True)
class PhaseResult:
    """What a phase has to say: its metrics, or why it did not apply."""

    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    """Metrics that nobody logged but that can be asked for like those: accuracy and so on of what was predicted."""
    skipped: str | None = None
    """The reason why there was nothing to do; None when the phase ran."""
    failed: str | None = None
    """What part of its work the phase could not do; the run ends with it after the rest was recorded."""
