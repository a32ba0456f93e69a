"""Training: hooks, Lightning's tuner, ``Trainer.fit``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.tuner.tuning import Tuner
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from runner.checkpoints import find_checkpoint, load_weights
from runner.errors import RunFailedError
from runner.metrics_table import last_row, metrics_of_epoch
from runner.modules import LightningModuleWithOptimizer
from runner.process_state import distributed_variables_restored
from runner.run_checkpoints import RunCheckpoints
from runner.run_state import PhaseResult, Run
from runner.trainer import create_training_trainer
from runner.training_guards import FirstError, check_batches

log = logging.getLogger(__name__)


def train(run: Run) -> PhaseResult:
    """Train the model, from the beginning or from where an earlier attempt stopped."""
    container = run.container
    if not container.train:
        return PhaseResult(skipped="train=False")
    if run.data is None and not is_overridden("train_dataloader", run.model):
        raise RunFailedError("get_data_module() returned None, and the model has no train_dataloader either.")
    if container.load_weights_only and run.resume_checkpoint is None:
        path, why = find_checkpoint(container.src_checkpoint)
        load_weights(run.model, path, trust=container.trust_checkpoint)
        log.info("weights to start from: %s (%s)", path, why)
    _call_hooks(run)
    if run.resume_checkpoint is None:
        _tune(run)
    seed_everything(container.effective_random_seed, workers=True, verbose=False)
    trainer = create_training_trainer(run)
    if trainer.world_size > 1:
        _refuse_layers_without_sizes(run)
    with run.stop.deferring_ends(), distributed_variables_restored():
        try:
            trainer.fit(run.model, datamodule=run.data, ckpt_path=run.resume_checkpoint)
        except BaseException as error:
            first = _first_error(trainer)
            if first is None or first is error:
                raise
            log.warning("a callback's on_exception raised as well: %s: %s", type(error).__name__, error)
            raise first from None
    check_batches(trainer)
    run.stop.stop_if_requested()
    return _result(run, trainer)


def _refuse_layers_without_sizes(run: Run) -> None:
    """Refuse what DistributedDataParallel cannot train, where no hook of the model can still mend it."""
    model = run.model
    if is_overridden("setup", model) or is_overridden("configure_model", model):
        return
    lazy = [name for name, each in model.named_modules() if isinstance(each, LazyModuleMixin)]
    if any(isinstance(each, UninitializedParameter) for each in model.parameters()):
        raise RunFailedError(
            f"{', '.join(lazy)}: a layer that learns its size from the first batch cannot be trained on several "
            "devices. Give it its size, or let create_model run the model once."
        )


def _first_error(trainer: Trainer) -> BaseException | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.error for each in callbacks if isinstance(each, FirstError)), None)


def _call_hooks(run: Run) -> None:
    if run.place.is_first:
        run.container.before_training_on_global_rank_zero()
    if run.place.local_rank == 0:
        run.container.before_training_on_local_rank_zero()
    run.container.before_training_on_all_ranks()


def _tune(run: Run) -> None:
    """Run Lightning's tuner for what ``find_batch_size`` and ``find_lr`` ask for, in this order."""
    container = run.container
    if container.find_batch_size:
        size = Tuner(_tuning_trainer(run)).scale_batch_size(run.model, datamodule=run.data)
        log.info("find_batch_size: %s", size)
        if "batch_size" in container.param:
            container.batch_size = size
        else:
            log.warning("batch_size is no parameter of %s: a resumed run will not know it", type(container).__name__)
    if container.find_lr:
        finder = Tuner(_tuning_trainer(run)).lr_find(run.model, datamodule=run.data, update_attr=False)
        l_rate = finder.suggestion() if finder is not None else None
        if l_rate is None:
            raise RunFailedError("find_lr: Lightning's finder has no suggestion for this model and data.")
        container.l_rate = l_rate
        _set_l_rate(run, l_rate)
        log.info("find_lr: l_rate %.3g", l_rate)
    wanted = {"batch_size": container.find_batch_size, "l_rate": container.find_lr}
    found = {name: getattr(container, name, None) for name, is_wanted in wanted.items() if is_wanted}
    if found:
        run.on_found_values(found)


def _tuning_trainer(run: Run) -> Trainer:
    container = run.container
    return Trainer(
        accelerator=container.accelerator,
        devices=1,
        precision=container.precision,
        max_epochs=-1,  # the tuner counts steps
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.folder.path,
    )


def _set_l_rate(run: Run, l_rate: float) -> None:
    """Give the learning rate to the model, whichever way it keeps it."""
    if isinstance(run.model, LightningModuleWithOptimizer):
        run.model.use_parameters(run.container)
    for name in ("l_rate", "lr", "learning_rate"):
        if hasattr(run.model, name):
            setattr(run.model, name, l_rate)


def _result(run: Run, trainer: Trainer) -> PhaseResult:
    details: dict[str, Any] = {"epochs": trainer.current_epoch, "steps": trainer.global_step}
    details["num_parameters"] = run.num_parameters
    details["stopped_by"] = _stop_reason(trainer)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, RunCheckpoints) and callback.best_epoch is not None:
            details["best"] = {
                "monitor": callback.monitor,
                "score": callback.best_score,
                "epoch": callback.best_epoch + 1,
            }
        if isinstance(callback, RunCheckpoints) and callback.written is not None:
            details["checkpoint"] = callback.written.name
    return PhaseResult(metrics=_metrics(run, trainer, details), details=details)


def _metrics(run: Run, trainer: Trainer, details: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the best epoch, whose weights are kept; where no metric says which that is, of the last."""
    if "best" in details:
        metrics = metrics_of_epoch(run.folder.metrics, details["best"]["epoch"] - 1)
        if metrics:
            return metrics
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if not name.endswith("_step")}
    return metrics or last_row(run.folder.metrics)  # killed after the last epoch: there was nothing left to train


def _stop_reason(trainer: Trainer) -> str:
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return "max_steps"
    if trainer.max_epochs not in (None, -1) and trainer.current_epoch >= (trainer.max_epochs or 0):
        return "num_epochs"
    stopper = trainer.early_stopping_callback
    if stopper is not None and stopper.stopped_epoch > 0:
        return "early stopping"
    return "max_time" if trainer.should_stop else "the model or a callback"
