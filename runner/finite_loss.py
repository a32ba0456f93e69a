"""Stops a training whose loss is not a number any more: nothing that follows would be worth its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from runner.errors import RunFailedError

LOOK_EVERY_STEPS = 50


class FiniteLoss(Callback):
    """Looks at the loss of each step.

    On a CPU that is at once. Elsewhere the losses are gathered on the device and read every 50 steps and at the end of
    the epoch, so that hardly a step waits for the device. With a gradient scaler, which leaves out
    steps whose numbers are too large for float16, only the weights are looked at, when they are saved.
    """

    def __init__(self) -> None:
        self._first: torch.Tensor | None = None
        """The first step with such a loss, on the device of the loss; infinite while there is none."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise RunFailedError if the loss of a step is NaN or infinite."""
        del pl_module, batch
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, torch.Tensor) or getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        step = torch.where(torch.isfinite(loss.detach()).all(), torch.inf, float(batch_idx))
        self._first = step if self._first is None else torch.minimum(self._first, step)
        if loss.device.type == "cpu" or (batch_idx + 1) % LOOK_EVERY_STEPS == 0:
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is left, before anything is saved."""
        del pl_module
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self._first is None:
            return
        first, self._first = float(self._first), None
        if first < torch.inf:
            raise RunFailedError(
                f"The loss is not finite (NaN or infinite) in epoch {trainer.current_epoch + 1}, batch "
                f"{int(first) + 1}. Checkpoints of earlier epochs are whole. A smaller l_rate, gradient_clip_val or "
                "detect_anomaly=True may help to find out why."
            )
