"""Progress of training: a bar with time left on a terminal, one plain line per epoch everywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, RichProgressBar

log = logging.getLogger(__name__)


def progress_callback() -> Callback:
    """Return what shows the progress of training, as the terminal allows."""
    return RunProgressBar(leave=True) if sys.stdout.isatty() else EpochLines()


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Write metrics as ``val_loss 0.0512  val_acc 0.985``."""
    return "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())


def format_seconds(seconds: float) -> str:
    """Write a time as ``4.1 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class RunProgressBar(RichProgressBar):
    """Lightning's bar; the metrics it shows leave out the version of the logger."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what is shown behind the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class EpochLines(Callback):
    """Logs one line per epoch: metrics, its time, and the time that the remaining epochs will take."""

    def __init__(self) -> None:
        self._epoch_start = 0.0
        self._fit_start = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del pl_module
        self._fit_start = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        del trainer, pl_module
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line."""
        del pl_module
        now = time.monotonic()
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        shown = {name: value for name, value in trainer.callback_metrics.items() if not name.endswith("_step")}
        parts = [
            f"epoch {epoch}/{epochs}" if epochs is not None and epochs > 0 else f"epoch {epoch}",
            format_metrics(dict(sorted(shown.items()))),
            format_seconds(now - self._epoch_start),
        ]
        if epochs is not None and epochs > epoch:
            per_epoch = (now - self._fit_start) / (epoch - self._first_epoch)
            parts.append(f"{format_seconds(per_epoch * (epochs - epoch))} left")
        log.info("  ".join(part for part in parts if part))
