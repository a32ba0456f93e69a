"""Collects what a model predicts while it is tested, and writes predictions.csv and evaluation.json."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from runner.container import LightningContainer
from runner.evaluation.files import evaluate, write_evaluation, write_predictions
from runner.evaluation.predictions import Batch, FormError, join_batches, read_batch
from runner.run_folder import RunFolder

log = logging.getLogger(__name__)


class PredictionCollector(Callback):
    """Keeps the scores and labels of every batch in the order of the data, and nothing else of it.

    Where several processes share the data, process ``r`` of ``n`` has its items ``r``, ``r + n`` and so on.
    """

    def __init__(self, container: LightningContainer) -> None:
        self._container = container
        self._batches: list[Batch] = []
        self._loaders: list[int] = []
        """Number of the loader that each of the batches came from."""
        self._num_silent = 0
        self._problem = ""

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: int) -> None:
        """Keep what ``test_step`` returned."""
        del trainer, pl_module
        self.add(batch, outputs, *rest[1:])

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: int) -> None:
        """Keep what ``predict_step`` returned."""
        self.on_test_batch_end(trainer, pl_module, outputs, batch, *rest)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring what other processes have kept to the first one."""
        del pl_module
        if trainer.world_size == 1:
            return
        own = (self._batches, self._loaders, self._num_silent, self._problem)
        found: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
        torch.distributed.gather_object(own, found)
        if found is not None:
            self._problem = next((problem for *_, problem in found if problem), "")
            self._num_silent = sum(silent for *_, silent, _ in found)
            self._batches = [] if self._problem else in_order([zip(*each[:2], strict=True) for each in found])

    on_predict_epoch_end = on_test_epoch_end

    def add(self, batch: Any, output: Any, loader: int = 0) -> None:
        """Keep what the container's ``get_predictions`` says about a batch; exceptions of that are the user's."""
        if self._problem:
            return
        found = self._container.get_predictions(batch, output)
        if found is None:
            self._num_silent += 1
            return
        try:
            if not isinstance(found, Mapping):
                raise FormError(f"needed is a mapping, not a {type(found).__name__}")
            self._batches.append(read_batch({key: _on_cpu(key, value) for key, value in found.items()}))
            self._loaders.append(loader)
        except FormError as error:
            self._problem = f"batch {self._num_silent + len(self._batches)}: {error}"
            self._batches.clear()
            self._loaders.clear()

    def write(self, folder: RunFolder, phase: str) -> dict[str, Any] | None:
        """Write the two files and return what evaluation.json says; None, with a warning, where the form is wrong.

        Files of an earlier attempt are removed.

        Raises:
            OSError: the disk is full, and so on.
        """
        for path in (folder.predictions, folder.evaluation):
            path.unlink(missing_ok=True)
        try:
            if self._problem:
                raise FormError(self._problem)
            if not self._batches:
                return None
            if self._num_silent:
                raise FormError(f"{self._num_silent} of {self._num_silent + len(self._batches)} batches have none")
            predictions = join_batches(self._batches)
        except FormError as error:
            log.warning("%s: predictions cannot be evaluated: %s (see docs/predictions.md)", phase, error)
            return None
        evaluation = evaluate(predictions, phase)
        _warn_of_one_class(evaluation)
        write_predictions(folder.predictions, predictions)
        write_evaluation(folder.evaluation, evaluation)
        return evaluation


def in_order(shares: Sequence[Iterable[tuple[Batch, int]]]) -> list[Batch]:
    """Return the items of all processes in the order of the data, each as a batch of its own.

    Args:
        shares: For each process its batches, with the numbers of the loaders that they came from.
    """
    items = [
        (loader, place, rank, item)
        for rank, share in enumerate(shares)
        for loader, group in groupby(share, key=lambda each: each[1])
        for place, item in enumerate(item for batch, _ in group for item in batch.items())
    ]
    return [item for *_, item in sorted(items, key=lambda each: each[:3])]


def measures_of(evaluation: dict[str, Any] | None) -> dict[str, float]:
    """Return the measures that have one value for the whole data set, by their names in evaluation.json."""
    if evaluation is None:
        return {}
    found = {name: each["value"] for name, each in evaluation["intervals"].items()}
    found |= {"ece": evaluation["calibration"]["ece"]} if "calibration" in evaluation else {}
    return {name: value for name, value in found.items() if value is not None}


def shown_intervals(evaluation: dict[str, Any] | None, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return the confidence interval of the main measure for results.json: its value, low and high end.

    It stands under the name that the model logged the same number as (``test_acc``), else under its own.
    """
    if evaluation is None:
        return {}
    name: str = evaluation["main"]
    interval = {key: evaluation["intervals"][name][key] for key in ("value", "low", "high")}
    short = {"accuracy": "acc", "mae": "mae"}[name]
    same = [each for each, value in metrics.items() if short in each and abs(value - interval["value"]) < 1e-5]
    return {"intervals": {same[0] if same else name: interval}}


def _warn_of_one_class(evaluation: dict[str, Any]) -> None:
    """Say when a classifier has learned nothing but which class is the most frequent."""
    if evaluation["kind"] != "classification":
        return
    predicted = np.flatnonzero(np.sum(evaluation["confusion"], axis=0))
    if len(predicted) == 1 and sum(any(row) for row in evaluation["confusion"]) > 1:
        log.warning("every item is predicted as %s", evaluation["classes"][predicted[0]])


def _on_cpu(key: Any, value: Any) -> Any:
    """Return tensors as NumPy arrays, of a type that NumPy has.

    Raises:
        FormError: NumPy has no such tensors: sparse, quantized.
    """
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    try:
        return (value.float() if value.is_floating_point() and value.itemsize < 4 else value).cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise FormError(f"{key}: {str(error).splitlines()[0]}") from None
