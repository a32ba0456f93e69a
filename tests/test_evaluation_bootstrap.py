"""Confidence intervals against scipy's bootstrap and against the formula of Wilson."""

import time

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from runner.evaluation.bootstrap import (
    FEWEST_RESAMPLES,
    MOST_DRAWS,
    NUM_RESAMPLES,
    num_resamples,
    percentile_interval,
    proportion_interval,
    resampled_counts,
)


def test_counts_are_draws_with_replacement() -> None:
    """Each resample has as many items as there are, each item the same chance, and the seed decides."""
    counts = np.concatenate(list(resampled_counts(50, NUM_RESAMPLES)))
    assert counts.shape == (NUM_RESAMPLES, 50)
    assert (counts.sum(axis=1) == 50).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), 0.98, atol=0.15)
    again = np.concatenate(list(resampled_counts(50, NUM_RESAMPLES)))
    np.testing.assert_array_equal(counts, again)


def test_little_memory_and_time() -> None:
    """Many items come a few resamples at a time; 2000 resamples of 10,000 items take about a second."""
    assert max(len(part) for part in resampled_counts(10_000, 600)) <= 200
    started = time.process_time()
    assert sum(len(part) for part in resampled_counts(10_000, NUM_RESAMPLES)) == NUM_RESAMPLES
    assert time.process_time() - started < 3


def test_a_mean_has_the_interval_of_scipy() -> None:
    """The ends agree to what the draws differ by."""
    values = np.random.default_rng(1).exponential(size=300)
    means = np.concatenate([counts @ values / 300 for counts in resampled_counts(300, NUM_RESAMPLES)])
    found = percentile_interval(float(values.mean()), means)
    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert found.to_json() == {
        "value": values.mean(), "low": found.low, "high": found.high, "level": 0.95,
        "method": "bootstrap, 2000 resamples of items",
    }  # fmt: skip


@pytest.mark.parametrize(("count", "total"), [(200, 200), (0, 30), (1, 1), (0, 1)])
def test_where_all_items_are_right_or_wrong_the_interval_is_wilsons(count: int, total: int) -> None:
    """The bootstrap would say that 200 of 200 right are 100 % without doubt."""
    found = proportion_interval(count, total, np.full(NUM_RESAMPLES, count / total))
    theirs = binomtest(count, total).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.low < found.high
    assert "Wilson" in found.method


def test_resamples_without_a_value_are_left_out() -> None:
    """A resample may lack a class."""
    found = percentile_interval(0.5, np.append(np.linspace(0, 1, 1001), np.full(99, np.nan)))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


def test_no_interval_is_told() -> None:
    """Nothing is known where no resample has a value, or there was no time for any."""
    assert percentile_interval(0.5, np.full(10, np.nan)).method == "none: is not defined"
    nothing = percentile_interval(0.5, np.empty(0))
    assert np.isnan(nothing.low)
    assert "too many" in nothing.method


def test_the_number_of_resamples_follows_from_the_work() -> None:
    """All of them, then fewer, then none."""
    assert num_resamples(1) == NUM_RESAMPLES
    assert num_resamples(MOST_DRAWS // 500) == 500
    assert num_resamples(MOST_DRAWS // FEWEST_RESAMPLES) == FEWEST_RESAMPLES
    assert num_resamples(MOST_DRAWS) == 0
