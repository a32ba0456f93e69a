"""Callbacks that keep a training from coming to a good end that is none: no data, a loss that is no number."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from runner.errors import RunFailedError

log = logging.getLogger(__name__)

LOOK_EVERY_STEPS = 50


class SharesOnly(Callback):
    """Says once where a metric of the validation is that of the first process's share of the data."""

    def __init__(self) -> None:
        self._is_said = False

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what was logged."""
        del pl_module
        if self._is_said or trainer.world_size == 1 or trainer.sanity_checking or trainer._results is None:
            return
        metas = [each.meta for each in trainer._results.values() if each.is_tensor and each.meta.on_epoch]
        names = sorted({meta.name for meta in metas if not meta.sync.should and not meta.sync.rank_zero_only})
        if names and trainer.is_global_zero:
            self._is_said = True
            log.warning(
                "%s: of the first of %d processes, which has its share of the data only; log it with sync_dist=True",
                ", ".join(names), trainer.world_size,
            )  # fmt: skip


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


class BatchesThere(Callback):
    """Looks whether there is anything to train on; Lightning would be content with nothing."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise RunFailedError if the validation's data loader gives no batch; without one there is no validation."""
        del pl_module
        if trainer.num_val_batches and not any(trainer.num_val_batches) and trainer.limit_val_batches != 0:
            raise no_batches("val")


def check_batches(trainer: Trainer) -> None:
    """Raise RunFailedError if the training's data loader gave no batch.

    To be called after ``fit``, which calls no hook of the training then.
    """
    if trainer.num_training_batches == 0 and trainer.limit_train_batches != 0:
        raise no_batches("train")


def no_batches(split: str) -> RunFailedError:
    """Return the error that there is nothing in ``train``, ``val`` or ``test``."""
    return RunFailedError(
        f"{split}_dataloader gives no batches: its data set is empty, or smaller than a batch and drop_last=True."
    )


class FirstError(Callback):
    """Remembers what went wrong first: a callback that raises in ``on_exception`` would hide it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note the exception."""
        del trainer, pl_module
        self.error = self.error or exception
