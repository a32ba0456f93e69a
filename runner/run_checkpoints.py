"""When checkpoints are written: the last epoch, the best epochs, and where a signal stopped the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loops.loop import _Loop
from torch.optim.lr_scheduler import LambdaLR

from runner.atomic_files import link_or_copy
from runner.checkpoints import first_not_finite
from runner.errors import RunFailedError, did_you_mean
from runner.metric_modes import mode_of
from runner.metrics_file import MetricsFile
from runner.random_states import get_random_states, set_random_states
from runner.ranks import agreed_signal
from runner.run_folder import RunFolder
from runner.stop_signals import StopSignals

log = logging.getLogger(__name__)

VALIDATION_LOSSES = ("val_loss", "val/loss", "valid_loss", "validation_loss", "val/Loss", "loss/val")


class RunCheckpoints(Checkpoint):
    """Writes ``last.ckpt`` after every epoch and keeps the best epochs, the very best as ``best.ckpt``.

    The best is a second name (hard link) of the bytes just written as last.ckpt, so nothing is serialised twice.
    Also keeps the state of the random generators, so that a resumed run goes on as if it had never stopped.

    Args:
        folder: The run folder.
        metrics: metrics.csv, whose row of an epoch is written before the checkpoint of that epoch.
        monitor: Metric that decides, or None to take a validation loss where one is logged.
        mode: ``min``, ``max`` or ``auto``.
        save_top_k: How many best epochs to keep; -1 for all, 0 for none.
        every_n_epochs: How often last.ckpt is written; 0 for only at the end.
        stop: Where signals are noted; the run stops after a training step.
        extends: The run had come to its end and was given more to train.
        on_saved: Called with the number of finished epochs when last.ckpt was written.
    """

    def __init__(
        self,
        folder: RunFolder,
        metrics: MetricsFile,
        *,
        monitor: str | None,
        mode: str,
        save_top_k: int,
        every_n_epochs: int,
        stop: StopSignals,
        on_saved: Callable[[int], None],
        extends: bool = False,
    ) -> None:
        self._folder = folder
        self._metrics = metrics
        self._asked_monitor = monitor
        self._asked_mode = mode
        self._save_top_k = save_top_k
        self._every_n_epochs = every_n_epochs
        self._stop = stop
        self._on_saved = on_saved
        self._extends = extends
        self._resumed_from: dict[str, Any] | None = None
        self._at_epoch_end = False
        self._should_stop = False
        self._has_validated = False
        self._has_warned = False
        self._is_best_validation = False
        self._saved_step = -1
        self.monitor: str | None = monitor
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.best_step = -1
        self.kept: dict[str, float] = {}
        """Names of the files of the best epochs, with their scores."""

    @property
    def mode(self) -> str:
        """``min`` or ``max``."""
        return mode_of(self.monitor or "", self._asked_mode)

    @property
    def written(self) -> Path | None:
        """The checkpoint whose weights training has chosen: of the best epoch, else the last; None for none at all."""
        if self.best_epoch is not None:
            return self._folder.best_checkpoint
        return self._folder.last_checkpoint if self._saved_step >= 0 else None

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: scores so far, where in an epoch this is, and the random generators."""
        return {
            "monitor": self.monitor,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_step": self.best_step,
            "kept": dict(self.kept),
            "at_epoch_end": self._at_epoch_end,
            "should_stop": self._should_stop,
            "random_states": get_random_states(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.monitor = self._asked_monitor or state_dict["monitor"]
        if self.monitor == state_dict["monitor"]:
            self.best_score = state_dict["best_score"]
            self.best_epoch, self.best_step = state_dict["best_epoch"], state_dict["best_step"]
            self.kept = dict(state_dict["kept"])
        self._resumed_from = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a resume, put the random generators back and draw the order of the data anew from them."""
        del pl_module
        self._stop.defer()
        if self._resumed_from is None:
            return
        state, self._resumed_from = self._resumed_from, None
        if state["at_epoch_end"]:
            self._go_on_after_epoch(trainer, stop=state["should_stop"] and not self._extends)
        _follow_schedules(trainer)
        set_random_states(state["random_states"])
        fetcher = trainer.fit_loop._data_fetcher
        if fetcher is not None:
            iter(fetcher)  # Lightning drew the first batches before the generators were put back

    def _go_on_after_epoch(self, trainer: Trainer, *, stop: bool) -> None:
        """Do what a kill may have kept from being done after last.ckpt was written."""
        _begin_next_epoch(trainer)
        self._saved_step = trainer.global_step
        self._metrics.drop_from(trainer.current_epoch)
        self._on_saved(trainer.current_epoch)
        if self.best_step == trainer.global_step:
            self._name_best(trainer, self._folder.best_checkpoint)
        if stop:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, *_arguments: Any) -> None:
        """Stop here when a signal came, after writing down where we are; at the end of an epoch finish it first."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        self._stop.requested = agreed_signal(trainer, self._stop.requested)
        if self._stop.requested is not None:
            self._check_weights(trainer)
            trainer.save_checkpoint(self._folder.interrupted_checkpoint)
            self._stop.stop_if_requested()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether this is the best state; at the end of an epoch it is kept together with last.ckpt."""
        del pl_module
        if trainer.sanity_checking:
            return
        self._has_validated = True
        self._infer_monitor(trainer)
        if not self._is_improvement(trainer):
            return
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._is_best_validation = True
        else:
            self._check_weights(trainer)
            path = self._note_best(trainer)
            trainer.save_checkpoint(path)
            self._name_best(trainer, path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write last.ckpt, and give it a second name when the epoch is one of the best."""
        del pl_module
        self._infer_monitor(trainer)
        self._check_monitor(trainer)
        is_best, self._is_best_validation = self._is_best_validation, False
        if self._is_trained_metric(trainer):
            is_best = self._is_improvement(trainer)
        best = self._note_best(trainer) if is_best else None
        due = self._every_n_epochs > 0 and (trainer.current_epoch + 1) % self._every_n_epochs == 0
        self._stop.requested = agreed_signal(trainer, self._stop.requested)
        is_stopping = self._stop.requested is not None
        self._write_metrics(trainer)
        if due or best is not None or is_stopping or self._is_last_epoch(trainer):
            self._save_last(trainer)
            self._on_saved(trainer.current_epoch + 1)
        if best is not None:
            self._name_best(trainer, best)
        self._stop.stop_if_requested()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that last.ckpt is the last state, however training came to its end."""
        del pl_module
        if self._saved_step != trainer.global_step:
            self._save_last(trainer)
        if trainer.is_global_zero:
            self._folder.interrupted_checkpoint.unlink(missing_ok=True)
            self._folder.previous_checkpoint.unlink(missing_ok=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where no epoch was left to train, Lightning has called nothing of the above: catch up on it."""
        if self._resumed_from is None:
            return
        state, self._resumed_from = self._resumed_from, None
        if state["at_epoch_end"]:
            self._go_on_after_epoch(trainer, stop=False)
        self.on_train_end(trainer, pl_module)

    def _write_metrics(self, trainer: Trainer) -> None:
        """Write the epoch's row before its checkpoint: Lightning would log it after, and a kill between lose it.

        Of metrics that are logged per step only, the row holds the last step's value, as the console shows it.
        """
        results = trainer._results
        if results is not None:
            found = results.metrics(on_step=False)
            shown = {name: value for name, value in found["callback"].items() if not name.endswith("_step")}
            logged = {name: float(value) for name, value in (shown | found["log"]).items()}
            if not self._has_warned and any(np.isnan(value) for value in logged.values()):
                self._has_warned = True
                log.warning("epoch %d: a metric is not a number (NaN)", trainer.current_epoch + 1)
            self._metrics.log_metrics(
                logged | {"epoch": trainer.current_epoch}, step=trainer.fit_loop.epoch_loop._batches_that_stepped - 1
            )
            self._metrics.save()

    def _save_last(self, trainer: Trainer) -> None:
        self._check_weights(trainer)
        if trainer.is_global_zero and self._folder.last_checkpoint.is_file():
            link_or_copy(self._folder.last_checkpoint, self._folder.previous_checkpoint)
        self._at_epoch_end, self._should_stop = True, trainer.should_stop
        trainer.save_checkpoint(self._folder.last_checkpoint)
        self._at_epoch_end = False
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:  # what is older than last.ckpt must not be gone on from
            self._folder.interrupted_checkpoint.unlink(missing_ok=True)

    @staticmethod
    def _check_weights(trainer: Trainer) -> None:
        name = first_not_finite(trainer.lightning_module)
        if name is not None:
            raise RunFailedError(
                f"The weights in {name} are not finite (NaN or infinite) after epoch {trainer.current_epoch + 1}; "
                "they are not saved. Checkpoints of earlier epochs are whole."
            )

    @staticmethod
    def _is_last_epoch(trainer: Trainer) -> bool:
        return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs

    def _infer_monitor(self, trainer: Trainer) -> None:
        if self.monitor is not None:
            return
        self.monitor = next((name for name in VALIDATION_LOSSES if name in trainer.callback_metrics), None)
        if self.monitor is not None and self._save_top_k != 0:
            log.info("best.ckpt: the epoch with the least %s (no monitor was set)", self.monitor)

    def _check_monitor(self, trainer: Trainer) -> None:
        """Refuse a metric that nobody logs, as soon as it should have been logged."""
        known = [name for name in trainer.callback_metrics if not name.endswith("_step")]
        is_due = self._has_validated or not trainer.enable_validation
        if self._asked_monitor is not None and self._asked_monitor not in known and is_due:
            raise RunFailedError(
                f"monitor={self._asked_monitor}: the model logs no such metric."
                f"{did_you_mean(self._asked_monitor, known)} It logs: {', '.join(sorted(known)) or 'none'}."
            )

    def _is_trained_metric(self, trainer: Trainer) -> bool:
        """Tell whether the metric comes from training, so that it is new at the end of an epoch."""
        results = trainer._results
        return results is not None and self.monitor in results.metrics(on_step=False)["callback"]

    def _is_improvement(self, trainer: Trainer) -> bool:
        score = self._score(trainer)
        if score is None or self._save_top_k == 0:
            return False
        if self._save_top_k == 1:
            return self.best_score is None or self._better(score, self.best_score)
        if self._save_top_k == -1 or len(self.kept) < self._save_top_k:
            return True
        return any(self._better(score, other) for other in self.kept.values())

    def _score(self, trainer: Trainer) -> float | None:
        """Return the metric's value, or None while there is none or it is no number."""
        value = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        score = float("nan") if value is None else float(value)
        score = trainer.strategy.broadcast(score)  # all processes must decide alike, or one waits for ever
        return None if np.isnan(score) else score

    def _better(self, one: float, other: float) -> bool:
        return one < other if self.mode == "min" else one > other

    def _note_best(self, trainer: Trainer) -> Path:
        """Count this state among the best and return the file it is kept in; last.ckpt then knows of it as well."""
        score = self._score(trainer)
        assert score is not None
        path = self._folder.best_checkpoint
        if self._save_top_k != 1:
            path = path.with_name(f"epoch{trainer.current_epoch:04d}-step{trainer.global_step}.ckpt")
        self.kept[path.name] = score
        if self.best_score is None or self._better(score, self.best_score):
            self.best_score, self.best_epoch, self.best_step = score, trainer.current_epoch, trainer.global_step
        return path

    def _name_best(self, trainer: Trainer, path: Path) -> None:
        """Give the state that was just noted its file, and drop the worst when there are more than k."""
        self._drop_worst()
        if not trainer.is_global_zero:
            return
        if self._saved_step == trainer.global_step:
            link_or_copy(self._folder.last_checkpoint, path)
        if self.best_step == trainer.global_step and path != self._folder.best_checkpoint:
            link_or_copy(path, self._folder.best_checkpoint)
        for file in self._folder.checkpoints.glob("epoch*-step*.ckpt"):
            if file.name not in self.kept:
                file.unlink()

    def _drop_worst(self) -> None:
        while self._save_top_k > 1 and len(self.kept) > self._save_top_k:
            worst = (max if self.mode == "min" else min)(self.kept, key=lambda name: self.kept[name])
            del self.kept[worst]


def _begin_next_epoch(trainer: Trainer) -> None:
    """Let training go on with the next epoch; with max_steps Lightning would run the finished one's end once more."""
    loop: Any = trainer.fit_loop
    for progress in (loop.epoch_progress.current, loop.epoch_progress.total):
        progress.completed = progress.processed
    _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined] # FitLoop's own setter always says True there
    loop.reset_restart_stage()


def _follow_schedules(trainer: Trainer) -> None:
    """Set the learning rates that formula schedules give now: the number of epochs may have been raised."""
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if isinstance(scheduler, LambdaLR):
            factors = [formula(scheduler.last_epoch) for formula in scheduler.lr_lambdas]
            for group, base, factor in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, factors, strict=True):
                group["lr"] = base * factor
