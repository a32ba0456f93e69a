"""ROC and precision-recall curves against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from runner.evaluation.curves import Ranking, thinned

ITEMS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40).filter(
    lambda items: len({is_positive for is_positive, _ in items}) == 2
)


@settings(deadline=None)
@given(ITEMS)
def test_areas_are_those_of_scikit_learn(items: list[tuple[bool, int]]) -> None:
    """Also with many ties, as few different scores give them."""
    truth, scores = np.array([each for each, _ in items]), np.array([each / 6 for _, each in items])
    ranking = Ranking.of(truth, scores)
    assert ranking.auc == pytest.approx(roc_auc_score(truth, scores))
    assert ranking.average_precision == pytest.approx(average_precision_score(truth, scores))


@settings(deadline=None)
@given(ITEMS)
def test_curves_are_those_of_scikit_learn(items: list[tuple[bool, int]]) -> None:
    """All points, ties as one step."""
    truth, scores = np.array([each for each, _ in items]), np.array([float(each) for _, each in items])
    ranking = Ranking.of(truth, scores)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(ranking.roc, (false, true))
    precision, recall, _ = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(ranking.precision_recall, (recall[::-1], precision[::-1]))


def test_a_class_that_no_item_has() -> None:
    """There is neither area."""
    ranking = Ranking.of(np.zeros(3, dtype=bool), np.arange(3.0))
    assert np.isnan(ranking.auc)
    assert np.isnan(ranking.average_precision)


def test_a_class_that_every_item_has() -> None:
    """There is no ROC curve; all that is found is right."""
    ranking = Ranking.of(np.ones(3, dtype=bool), np.arange(3.0))
    assert np.isnan(ranking.auc)
    assert ranking.average_precision == 1


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    """Its points are points of the curve; between them little is lost."""
    random = np.random.default_rng(0)
    truth = random.random(20_000) < 0.3
    ranking = Ranking.of(truth, random.normal(size=20_000) + truth)
    for curve in (ranking.roc, ranking.precision_recall):
        x, y = thinned(*curve, 200)
        assert len(x) <= 200
        assert (x[0], y[0], x[-1], y[-1]) == (curve[0][0], curve[1][0], curve[0][-1], curve[1][-1])
        assert set(zip(x, y, strict=True)) <= set(zip(*curve, strict=True))
        area, thin = (np.diff(a) @ (b[1:] + b[:-1]) / 2 for a, b in (curve, (x, y)))
        assert thin == pytest.approx(area, abs=2e-3)


def test_straight_parts_need_no_points() -> None:
    """A perfect ranking is three points."""
    ranking = Ranking.of(np.arange(100) >= 50, np.arange(100.0))
    np.testing.assert_array_equal(thinned(*ranking.roc, 200), [[0, 0, 1], [0, 1, 1]])
