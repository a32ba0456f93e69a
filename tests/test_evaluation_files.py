"""predictions.csv and evaluation.json, read back."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from runner.evaluation.files import evaluate, write_evaluation, write_predictions
from runner.evaluation.predictions import Predictions

HOSTILE = '<script>alert("x")</script>,\x1b[2J\n' + "y" * 10_000
CLASSES = Predictions(
    "classification",
    np.array([[0.25, 0.75], [0.5, 0.5], [1 / 3, 2 / 3]]),
    np.array([1, 1, 0]),
    ("a.png", HOSTILE, "\udcff"),
    ("healthy", HOSTILE),
)
NUMBERS = Predictions(
    "regression", np.array([[1.5, 1e9], [-2.0, 0.1]]), np.array([[1.0, 1e9], [2.0, 0.0]]), ("", ""), ("0", "1")
)


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def test_a_row_per_item(tmp_path: Path) -> None:
    """Names of classes and probabilities; nothing that a terminal obeys, and still one row each."""
    write_predictions(tmp_path / "predictions.csv", CLASSES)
    head, *rows = table(tmp_path / "predictions.csv")
    name = HOSTILE.replace("\x1b", "\\x1b")
    assert head == ["index", "id", "label", "prediction", "score_healthy", f"score_{name}"]
    assert rows == [
        ["0", "a.png", name, name, "0.25", "0.75"],
        ["1", name, name, "healthy", "0.5", "0.5"],
        ["2", "\\udcff", "healthy", name, "0.3333333", "0.6666667"],
    ]
    assert b"\x1b" not in (tmp_path / "predictions.csv").read_bytes()


def test_numbers(tmp_path: Path) -> None:
    """A pair of columns per output; one output needs no name."""
    path = tmp_path / "predictions.csv"
    write_predictions(path, NUMBERS)
    assert table(path) == [
        ["index", "id", "target_0", "prediction_0", "target_1", "prediction_1"],
        ["0", "", "1", "1.5", "1e+09", "1e+09"],
        ["1", "", "2", "-2", "0", "0.1"],
    ]
    one = Predictions("regression", NUMBERS.values[:, :1], NUMBERS.truth[:, :1], ("", ""), ("0",))
    write_predictions(path, one)
    assert table(path)[0] == ["index", "id", "target", "prediction"]


@pytest.mark.parametrize("predictions", [CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_the_evaluation_is_strict_json(predictions: Predictions, tmp_path: Path) -> None:
    """An entry a line, no NaN, and what it says fits the predictions."""
    evaluation = evaluate(predictions, "test")
    write_evaluation(tmp_path / "evaluation.json", evaluation)
    text = (tmp_path / "evaluation.json").read_text(encoding="utf-8")
    assert len(text.splitlines()) == len(evaluation) + 2

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(text, parse_constant=refuse)
    assert (found["kind"], found["phase"], found["num_items"]) == (predictions.kind, "test", len(predictions.values))
    assert found["main"] in found["intervals"]
    assert "\x1b" not in json.dumps(found, ensure_ascii=False)
