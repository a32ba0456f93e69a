"""Measures of regressions against scikit-learn."""

import json
import time
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from runner.atomic_files import finite
from runner.evaluation.regression import evaluate_regression

Array = np.ndarray[Any, Any]


def evaluated(targets: Array, predictions: Array) -> dict[str, Any]:
    """Return the evaluation as a reader of the file gets it."""
    names = [f"y{place}" for place in range(targets.shape[1])]
    found: dict[str, Any] = json.loads(json.dumps(finite(evaluate_regression(targets, predictions, names))))
    return found


def sample(num_items: int, num_outputs: int, offset: float = 0.0) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    targets = offset + random.normal(size=(num_items, num_outputs)) * np.arange(1, num_outputs + 1)
    return targets, targets + 0.5 * random.normal(size=targets.shape)


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_measures_are_those_of_scikit_learn(num_outputs: int, offset: float) -> None:
    """Also where targets are far from 0; several outputs count alike."""
    targets, predictions = sample(200, num_outputs, offset)
    found = evaluated(targets, predictions)["intervals"]
    for name, measure in (("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("r2", r2_score)):
        assert found[name]["value"] == pytest.approx(measure(targets, predictions))
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_intervals_are_those_of_drawn_items() -> None:
    """The ends agree to what draws differ by."""
    targets, predictions = sample(150, 1)
    random, values = np.random.default_rng(5), []
    for _ in range(3000):
        drawn = random.integers(150, size=150)
        values.append(r2_score(targets[drawn], predictions[drawn]))
    found = evaluated(targets, predictions)["intervals"]["r2"]
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.012)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
@pytest.mark.parametrize("number", [1, 7])
def test_equal_targets_have_no_variance_to_explain(value: float, number: int) -> None:
    """R2 is null; the errors are there."""
    targets = np.full((number, 1), value)
    found = evaluated(targets, targets + 1)["intervals"]
    assert (found["r2"]["value"], found["r2"]["low"]) == (None, None)
    assert found["mae"]["value"] == pytest.approx(1)


def test_points_are_chosen_evenly() -> None:
    """All of few, 2000 of many, in the order of the data, the first and the last among them."""
    targets = np.arange(5001.0)[:, None]
    [points] = evaluated(targets, targets)["points"]
    assert points["name"] == "y0"
    assert len(points["target"]) == len(points["prediction"]) == 2000
    assert (points["target"][0], points["target"][-1]) == (0, 5000)
    assert set(np.diff(points["target"])) == {2, 3}
    assert evaluated(targets[:3], targets[:3])["points"][0]["target"] == [0, 1, 2]


def test_ten_thousand_items_take_a_second() -> None:
    """2000 resamples of them."""
    started = time.process_time()
    evaluated(*sample(10_000, 1))
    assert time.process_time() - started < 3
