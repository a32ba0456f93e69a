"""Measures of classifiers against scikit-learn and torchmetrics."""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from torchmetrics.functional import auroc, calibration_error

from runner.atomic_files import finite
from runner.evaluation.bootstrap import resampled_counts
from runner.evaluation.classification import (
    calibration,
    confusion_matrix,
    evaluate_classes,
    macro_f1,
    resampled_auc,
)

Array = np.ndarray[Any, Any]


def sample(num_items: int, num_classes: int, seed: int = 0) -> tuple[Array, Array]:
    """Return labels and the probabilities of a model that is better than chance."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=num_items)
    logits = random.normal(size=(num_items, num_classes))
    logits[np.arange(num_items), labels] += 1
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def evaluated(labels: Array, probabilities: Array) -> dict[str, Any]:
    """Return the evaluation as a reader of the file gets it."""
    names = [f"c{place}" for place in range(probabilities.shape[1])]
    found: dict[str, Any] = json.loads(json.dumps(finite(evaluate_classes(labels, probabilities, names))))
    return found


def column(found: dict[str, Any], name: str) -> list[Any]:
    return [each[name] for each in found["per_class"]]


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_measures_are_those_of_scikit_learn(num_classes: int) -> None:
    """Confusion, precision, recall, F1, areas and their means."""
    labels, probabilities = sample(400, num_classes)
    predicted = probabilities.argmax(axis=1)
    found = evaluated(labels, probabilities)
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        assert column(found, name) == pytest.approx(list(theirs))
    one_hot = np.eye(num_classes)[labels]
    assert column(found, "auc") == pytest.approx(list(metrics.roc_auc_score(one_hot, probabilities, average=None)))
    precisions = metrics.average_precision_score(one_hot, probabilities, average=None)
    assert column(found, "average_precision") == pytest.approx(list(precisions))
    values = {name: each["value"] for name, each in found["intervals"].items()}
    assert values == {
        "accuracy": pytest.approx(metrics.accuracy_score(labels, predicted)),
        "macro_f1": pytest.approx(metrics.f1_score(labels, predicted, average="macro")),
        "auc": pytest.approx(metrics.roc_auc_score(one_hot, probabilities, average="macro")),
    }
    for each in found["intervals"].values():
        assert each["low"] < each["value"] < each["high"]
    theirs = auroc(
        torch.tensor(probabilities), torch.tensor(labels), task="multiclass", num_classes=num_classes, average="macro"
    )
    assert theirs is not None
    assert values["auc"] == pytest.approx(float(theirs))


@pytest.mark.parametrize("num_classes", [2, 5])
def test_calibration_is_that_of_torchmetrics(num_classes: int) -> None:
    """Guo's expected calibration error over 15 bins; the bins add up."""
    labels, probabilities = sample(1000, num_classes, seed=3)
    found = calibration(labels, probabilities)
    theirs = calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), task="multiclass", num_classes=num_classes, n_bins=15
    )
    assert found["ece"] == pytest.approx(float(theirs), abs=1e-6)
    assert sum(each["count"] for each in found["bins"]) == 1000
    assert [each["low"] for each in found["bins"]] == pytest.approx(np.arange(15) / 15)
    for each in found["bins"]:
        assert each["count"] == 0 or each["low"] < each["confidence"] <= each["high"] + 1e-12


def test_bins_hold_their_upper_end() -> None:
    """A confidence of 1 is in the last bin; empty bins have no means."""
    bins = calibration(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))["bins"]
    assert (bins[-1]["count"], bins[-1]["accuracy"], bins[-1]["confidence"]) == (2, 0.5, 1)
    assert (bins[0]["count"], bins[0]["accuracy"], bins[0]["confidence"]) == (0, None, None)


@pytest.mark.parametrize(("num_classes", "num_levels"), [(2, 1000), (2, 4), (3, 1000), (4, 5)])
def test_resampled_areas_are_those_of_the_resampled_items(num_classes: int, num_levels: int) -> None:
    """Drawn items, written out and given to scikit-learn, have the same area; also with ties."""
    labels, probabilities = sample(40, num_classes, seed=1)
    probabilities = np.round(probabilities * num_levels) / num_levels
    found = resampled_auc(labels, probabilities, 25)
    for counts, area in zip(next(resampled_counts(40, 25)), found, strict=True):
        drawn = np.repeat(np.arange(40), counts)
        one_hot, scores = np.eye(num_classes)[labels[drawn]], probabilities[drawn]
        present = [place for place in range(num_classes) if 0 < one_hot[:, place].sum() < 40]
        if num_classes == 2:
            present = [1]
        areas = [metrics.roc_auc_score(one_hot[:, place], scores[:, place]) for place in present]
        assert area == pytest.approx(np.mean(areas))


def test_intervals_from_the_confusion_matrix_are_those_of_drawn_items() -> None:
    """To draw cells of the matrix is to draw items: the ends agree to what draws differ by."""
    labels, probabilities = sample(150, 3, seed=5)
    predicted = probabilities.argmax(axis=1)
    random, accuracies, scores = np.random.default_rng(9), [], []
    for _ in range(3000):
        drawn = random.integers(150, size=150)
        matrix = confusion_matrix(labels[drawn], predicted[drawn], 3)
        accuracies.append(np.trace(matrix) / 150)
        scores.append(float(macro_f1(matrix)))
    found = evaluated(labels, probabilities)["intervals"]
    for name, values in (("accuracy", accuracies), ("macro_f1", scores)):
        low, high = np.percentile(values, [2.5, 97.5])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=0.012)


def test_a_class_without_items() -> None:
    """What is not defined is null, and the means leave it out."""
    labels, probabilities = sample(100, 3)
    labels = np.where(labels == 2, 0, labels)
    probabilities[:, 2] = 0
    found = evaluated(labels, probabilities / probabilities.sum(axis=1, keepdims=True))
    missing = found["per_class"][2]
    assert (missing["support"], missing["precision"], missing["recall"]) == (0, None, None)
    assert (missing["f1"], missing["auc"], missing["average_precision"]) == (None, None, None)
    assert [each["name"] for each in found["roc"]] == ["c0", "c1"]
    areas, scores = column(found, "auc")[:2], column(found, "f1")[:2]
    assert found["intervals"]["auc"]["value"] == pytest.approx(np.mean(areas))
    assert found["intervals"]["macro_f1"]["value"] == pytest.approx(np.mean(scores))


def test_only_one_class_there() -> None:
    """There is an accuracy, and no area."""
    found = evaluated(np.zeros(20, dtype=np.int64), sample(20, 2)[1])
    area = found["intervals"]["auc"]
    assert (area["value"], area["low"], area["high"]) == (None, None, None)
    assert found["roc"] == []
    assert found["intervals"]["accuracy"]["value"] is not None


@pytest.mark.parametrize(("label", "accuracy"), [(1, 1.0), (0, 0.0)])
def test_a_single_item(label: int, accuracy: float) -> None:
    """Nearly nothing is known: the interval is wide."""
    found = evaluated(np.array([label]), np.array([[0.2, 0.8]]))
    interval = found["intervals"]["accuracy"]
    assert interval["value"] == accuracy
    assert interval["high"] - interval["low"] > 0.7


def test_a_model_that_is_very_sure_is_ranked_exactly() -> None:
    """A probability that is 1 but for 1e-20 is less than one that is 1 but for 1e-30: both classes have one area."""
    small = np.array([1e-20, 1e-30, 1e-25, 1e-35])
    found = evaluated(np.array([0, 1, 0, 1]), np.stack([small, 1 - small], axis=1))
    assert column(found, "auc") == [1, 1]


def test_two_classes_have_one_curve() -> None:
    """That of the second class; its points are few and lead from corner to corner."""
    labels, probabilities = sample(5000, 2)
    found = evaluated(labels, probabilities)
    [roc], [pr] = found["roc"], found["pr"]
    assert roc["name"] == pr["name"] == "c1"
    assert len(roc["x"]) == len(roc["y"]) <= 200
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    assert (pr["x"][0], pr["y"][0], pr["x"][-1]) == (0, 1, 1)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st.integers(1, 8).flatmap(
            lambda n: st.tuples(
                arrays(np.int64, n, elements=st.integers(0, k - 1)),
                arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
            )
        )
    )
)
def test_whatever_was_predicted_can_be_evaluated(items: tuple[Array, Array]) -> None:
    """Without a warning of NumPy's, and as strict JSON."""
    labels, scores = items
    scores = scores + 1e-9
    with np.errstate(all="raise"):
        found = evaluated(labels, scores / scores.sum(axis=1, keepdims=True))
    json.dumps(found, allow_nan=False)
    assert np.sum(found["confusion"]) == len(labels)


def test_ten_thousand_items_take_seconds() -> None:
    """Two classes about one, ten about three."""
    started = time.process_time()
    evaluated(*sample(10_000, 2))
    assert time.process_time() - started < 4


def test_many_classes_make_a_small_file() -> None:
    """Curves get fewer points; what there is no time for is told."""
    found = evaluated(*sample(15_000, 150))
    assert max(len(each["x"]) for each in found["roc"]) <= 133
    assert len(json.dumps(found)) < 1_000_000
    assert found["intervals"]["auc"]["low"] is None
    assert "too many" in found["intervals"]["auc"]["method"]
