"""Progress of training: one plain line per epoch, and on a terminal a bar with the time left below them."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from runner.number_text import format_metrics, format_seconds

log = logging.getLogger(__name__)


def progress_callback() -> Callback:
    """Return what shows the progress of training, as the terminal allows."""
    return TrainingBar() if sys.stdout is not None and sys.stdout.isatty() else EpochLines()


class EpochLines(Callback):
    """Logs one line per epoch: metrics, its time, and the time that the remaining epochs will take."""

    def __init__(self) -> None:
        self._epoch_start = 0.0
        self._fit_start = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del pl_module
        self._fit_start = self._epoch_start = time.monotonic()
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


class TrainingBar(EpochLines):
    """The lines, and below them a bar over the whole training with the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches, elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            transient=True,
        )
        self._task: TaskID | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        super().on_train_start(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        is_known = epochs is not None and epochs > 0 and batches != float("inf")
        total = float(batches) * epochs if is_known and epochs is not None else None
        done = float(batches) * trainer.current_epoch if is_known else 0
        self._task = self._bar.add_task("", total=total, completed=int(done), epoch=trainer.current_epoch + 1)
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_arguments: Any) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, epoch=trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away; the lines stay."""
        del trainer, pl_module
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away, so that the error has the terminal for itself."""
        del trainer, pl_module, exception
        self._bar.stop()
