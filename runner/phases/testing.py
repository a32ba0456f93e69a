"""Test: ``Trainer.test`` with the chosen weights on one device, or ``Trainer.predict`` where that cannot be."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden
from torchmetrics import Metric

from runner.modules import InnerEyeInference
from runner.phases.collecting import PredictionCollector, measures_of, shown_intervals
from runner.phases.weights import use_chosen_weights
from runner.process_state import distributed_variables_restored
from runner.run_state import PhaseResult, Run
from runner.trainer import container_callbacks, create_evaluation_trainer, processes_per_machine
from runner.training_guards import no_batches

log = logging.getLogger(__name__)


def test(run: Run) -> PhaseResult:
    """Test the model, where it has a ``test_step`` and there is data for it, or else ``predict_step`` and its data.

    What it predicts is written down and evaluated, where the model or the container gives that.
    """
    if uses_inner_eye_inference(run.model):
        return PhaseResult(skipped="the model has an inference_step, which runs instead of test_step")
    skipped = _reason_against("test_step", "test", run)
    if skipped and _reason_against("predict_step", "predict", run):
        return PhaseResult(skipped=skipped)
    is_shared = _is_shared(run)
    if not run.place.is_first and not is_shared:
        return PhaseResult(skipped="the first process tests alone")
    use_chosen_weights(run)
    counter, collector = _ItemCounter(), PredictionCollector(run.container)
    callbacks = [counter, collector, *container_callbacks(run.container)]
    trainer = create_evaluation_trainer(run, callbacks, on_all_devices=is_shared)
    with distributed_variables_restored(), _logging_of_all(run.model, is_shared=is_shared):
        if skipped:
            trainer.predict(run.model, datamodule=run.data, return_predictions=False)
        else:
            trainer.test(run.model, datamodule=run.data, verbose=False)
    if not run.place.is_first:
        return PhaseResult(skipped="the first process has the results")
    limit = trainer.limit_predict_batches if skipped else trainer.limit_test_batches
    if not counter.num_items and limit != 0:
        raise no_batches("predict" if skipped else "test")
    evaluation = collector.write(run.folder, "test")
    if skipped and evaluation is None:
        return PhaseResult(skipped=f"{skipped}; predict_step gives no scores and labels either")
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    details = {"num_items": counter.num_items, "num_parameters": run.num_parameters, "weights": run.weights_from}
    return PhaseResult(metrics, details | shown_intervals(evaluation, metrics), measures_of(evaluation))


def _is_shared(run: Run) -> bool:
    """Tell whether all processes of the run test their share of the data."""
    container = run.container
    if not container.test_on_all_devices or (container.num_nodes == 1 and processes_per_machine(container) == 1):
        return False
    if container.fast_dev_run or container.limit_test_batches not in (None, 1.0):
        log.info("test_on_all_devices: with only some of the batches, one device tests them")
        return False
    return True


@contextmanager
def _logging_of_all(model: LightningModule, *, is_shared: bool) -> Iterator[None]:
    """Reduce what the model logs over all processes, whether or not it says ``sync_dist``."""
    if not is_shared:
        yield
        return
    log_one, form = model.log, inspect.signature(model.log)

    def log_all(*arguments: Any, **keywords: Any) -> None:
        asked = form.bind(*arguments, **keywords).arguments
        if asked.get("on_epoch") is not False and not asked.get("rank_zero_only"):
            asked |= {"sync_dist": True, "on_step": False, "on_epoch": True}  # the numbers of steps differ
        log_one(**asked)

    model.log = log_all  # type: ignore[method-assign]
    metrics = [each for each in model.modules() if isinstance(each, Metric) and each.dist_sync_on_step]
    for metric in metrics:
        metric.dist_sync_on_step = False
    try:
        yield
    finally:
        del model.log
        for metric in metrics:
            metric.dist_sync_on_step = True


def _reason_against(step: str, split: str, run: Run) -> str | None:
    """Return why *step* cannot run over the data of *split*; None if it can."""
    if not is_overridden(step, run.model):
        return f"the model has neither {step} nor InnerEyeInference's inference_step"
    if not has_loader(split, run.model, run.data):
        return f"there is no {split} data: {split}_dataloader is not defined"
    return None


def uses_inner_eye_inference(model: LightningModule) -> bool:
    """Tell whether the model defines ``inference_step`` of ``InnerEyeInference``."""
    return isinstance(model, InnerEyeInference) and type(model).inference_step is not InnerEyeInference.inference_step


def has_loader(split: str, model: LightningModule, data: LightningDataModule | None) -> bool:
    """Tell whether the data module, or else the model, defines ``<split>_dataloader``."""
    name = f"{split}_dataloader"
    if data is not None:
        return is_overridden(name, data)
    return is_overridden(name, model)


def count_items(batch: Any) -> int:
    """Return the number of items in a batch: the first dimension of its first tensor, else its length, else 1."""
    tensor = _first_tensor(batch)
    if tensor is not None:
        return len(tensor)
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    first = parts[0] if isinstance(parts, list | tuple) and parts else None
    if isinstance(first, list | tuple):
        return len(first)
    return len(parts) if isinstance(parts, list | tuple) else 1


def _first_tensor(batch: Any) -> torch.Tensor | None:
    if isinstance(batch, torch.Tensor):
        return batch if batch.ndim else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


class _ItemCounter(Callback):
    def __init__(self) -> None:
        self.num_items = 0

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_rest: Any) -> None:
        del trainer, pl_module, outputs
        self.num_items += count_items(batch)

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
        self.on_test_batch_end(trainer, pl_module, outputs, batch, *rest)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        count = torch.tensor(self.num_items, device=trainer.strategy.root_device)
        self.num_items = int(trainer.strategy.reduce(count, reduce_op="sum"))

    on_predict_epoch_end = on_test_epoch_end
