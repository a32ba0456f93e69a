"""Inference in InnerEye's order: ``on_inference_start``, each split, ``on_inference_end``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities import move_data_to_device
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from runner.modules import InnerEyeInference, ModelExecutionMode
from runner.phases.collecting import PredictionCollector, measures_of, shown_intervals
from runner.phases.testing import count_items, has_loader, uses_inner_eye_inference
from runner.phases.weights import use_chosen_weights
from runner.run_state import PhaseResult, Run
from runner.trainer import create_evaluation_trainer
from runner.training_guards import no_batches

log = logging.getLogger(__name__)

LOADERS = {ModelExecutionMode.TRAIN: "train", ModelExecutionMode.VAL: "val", ModelExecutionMode.TEST: "test"}
"""The splits in the order of InnerEye's page, with the names of their loaders."""


def infer(run: Run) -> PhaseResult:
    """Run ``InnerEyeInference``, where the model defines its ``inference_step``."""
    if not uses_inner_eye_inference(run.model):
        return PhaseResult(skipped="the model has no inference_step of InnerEyeInference")
    splits = _wanted_splits(run)
    if not splits:
        return PhaseResult(skipped="no split is enabled; see --inference_on_test_set")
    log.info("the model's inference_step runs, as in InnerEye, and not its test_step")
    use_chosen_weights(run)
    model, data = run.model, run.inference_data
    trainer = create_evaluation_trainer(run, [])
    if data is not None:
        data.trainer = trainer
        data.prepare_data()
    model.trainer = trainer
    device = trainer.strategy.root_device
    model.to(device).eval()
    counts, collector = {}, PredictionCollector(run.container)
    with torch.no_grad():
        inference = cast(InnerEyeInference, model)
        inference.on_inference_start()
        for split in splits:
            counts[split.value] = _run_split(run, inference, split, device, collector)
        inference.on_inference_end()
    evaluation = collector.write(run.folder, "inference")
    metrics = {str(name): float(value) for name, value in inference.get_inference_metrics().items()}
    details = {"num_items": counts, "weights": run.weights_from}
    return PhaseResult(metrics, details | shown_intervals(evaluation, metrics), measures_of(evaluation))


def _wanted_splits(run: Run) -> list[ModelExecutionMode]:
    """Return the enabled splits; by default the test set, and none in a cross validation fold, as in InnerEye."""
    container = run.container
    asked = {
        ModelExecutionMode.TRAIN: container.inference_on_train_set,
        ModelExecutionMode.VAL: container.inference_on_val_set,
        ModelExecutionMode.TEST: container.inference_on_test_set,
    }
    if asked[ModelExecutionMode.TEST] is None:
        asked[ModelExecutionMode.TEST] = not container.is_cross_validation_fold
    wanted = [split for split in LOADERS if asked[split]]
    missing = [split for split in wanted if not has_loader(LOADERS[split], run.model, run.inference_data)]
    for split in missing:
        log.warning("inference: there is no %s_dataloader, so nothing for %s", LOADERS[split], split.value)
    return [split for split in wanted if split not in missing]


def _run_split(
    run: Run, model: InnerEyeInference, split: ModelExecutionMode, device: torch.device, collector: PredictionCollector
) -> int:
    """Run the hooks over one split and return its number of items; the predictions of the test split are collected."""
    num_items, name = 0, LOADERS[split]
    limit = getattr(run.container, f"limit_{name}_batches")
    if run.container.fast_dev_run:
        limit = int(run.container.fast_dev_run)
    model.on_inference_epoch_start(dataset_split=split, is_ensemble_model=False)
    for batch_index, item in enumerate(_batches(run.model, run.inference_data, name, limit)):
        on_device = move_data_to_device(item, device)
        output = run.model.forward(model.get_inference_input(on_device))
        model.inference_step(on_device, batch_index, model_output=output)
        if split is ModelExecutionMode.TEST:
            collector.add(on_device, output)
        num_items += count_items(item)
    model.on_inference_epoch_end()
    if not num_items and limit != 0:
        raise no_batches(name)
    return num_items


def _batches(
    model: LightningModule, data: LightningDataModule | None, split: str, limit: int | float | None
) -> Iterator[Any]:
    """Yield the batches of a split from its loader or loaders, after the data module's ``setup``."""
    source: Any = model if data is None else data
    if data is not None:
        data.setup("test" if split == "test" else "fit")
    loaders = getattr(source, f"{split}_dataloader")()
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders)
    for loader in combined.flattened:
        yield from islice(loader, _num_batches(loader, limit))


def _num_batches(loader: Any, limit: int | float | None) -> int | None:
    """Return how many batches a ``limit_..._batches`` leaves; None for all."""
    if isinstance(limit, float):
        return int(len(loader) * limit) if limit < 1 else None
    return limit
