"""predictions.csv and evaluation.json: what was predicted, and how good that is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.atomic_files import atomic_file, finite, write_text
from runner.evaluation.classification import evaluate_classes
from runner.evaluation.predictions import Predictions
from runner.evaluation.regression import evaluate_regression
from runner.plain_text import escaped
from runner.shown import csv_cell


def evaluate(predictions: Predictions, phase: str) -> dict[str, Any]:
    """Return what evaluation.json says: measures, curves and 95 % confidence intervals.

    Args:
        predictions: What was predicted.
        phase: In which phase.
    """
    measure = evaluate_classes if predictions.kind == "classification" else evaluate_regression
    head = {"kind": predictions.kind, "phase": phase}
    return head | measure(predictions.truth, predictions.values, [escaped(name) for name in predictions.names])


def write_evaluation(path: Path, evaluation: dict[str, Any]) -> None:
    """Write evaluation.json: strict JSON, in which what is not defined is null."""
    entries = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in finite(evaluation).items()]
    write_text(path, "{\n" + ",\n".join(entries) + "\n}\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.csv: a row per item in the order of the data, whole or not at all.

    Classes: ``index,id,label,prediction,score_<class>...`` with names of classes and probabilities. Numbers:
    ``index,id,target,prediction``; where there are several outputs, ``target_<name>`` and so on for each.
    """
    rows = _class_rows(predictions) if predictions.kind == "classification" else _number_rows(predictions)
    with atomic_file(path) as file:
        file.writelines((",".join(row) + "\n").encode(errors="backslashreplace") for row in rows)


def _class_rows(predictions: Predictions) -> Iterator[list[str]]:
    names = [csv_cell(name) for name in predictions.names]
    yield ["index", "id", "label", "prediction", *(csv_cell(f"score_{name}") for name in predictions.names)]
    predicted = predictions.values.argmax(axis=1)
    for index, scores in enumerate(predictions.values):
        label, prediction = names[predictions.truth[index]], names[predicted[index]]
        yield [str(index), csv_cell(predictions.ids[index]), label, prediction, *(f"{score:.7g}" for score in scores)]


def _number_rows(predictions: Predictions) -> Iterator[list[str]]:
    names = predictions.names
    endings = [""] if len(names) == 1 else [f"_{name}" for name in names]
    columns = [csv_cell(f"{column}{ending}") for ending in endings for column in ("target", "prediction")]
    yield ["index", "id", *columns]
    for index, (targets, values) in enumerate(zip(predictions.truth, predictions.values, strict=True)):
        pairs = (f"{number:.9g}" for pair in zip(targets, values, strict=True) for number in pair)
        yield [str(index), csv_cell(predictions.ids[index]), *pairs]
