"""Measures of maps against closed forms, numpy, scipy and xaitk-saliency."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr
from xaitk_saliency.impls.saliency_metric.entropy import Entropy

from runner.saliency.measures import PairwiseCorrelation, entropy, mask_correlation, pearson, spearman

RANDOM = np.random.default_rng()
maps_of_any_kind = hnp.arrays(np.float32, (3, 6, 5), elements=st.floats(-1, 1, width=32))


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Whichever tests came before in this process."""
    RANDOM.bit_generator.state = np.random.default_rng(0).bit_generator.state


@given(maps_of_any_kind)
def test_entropy_is_that_of_xaitk_saliency(maps: Any) -> None:
    """Entropy of the positive part is xaitk-saliency's; NaN, not a warning, where nothing is positive."""
    for value, each in zip(entropy(maps), maps, strict=True):
        if each.max() <= 0:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(Entropy(clip_range=(0, 1)).compute(each.astype(np.float64)), abs=1e-5)


def test_entropy_in_closed_form() -> None:
    """One pixel has no entropy, eight equal ones have three bits; xaitk-saliency's is -inf with negative values."""
    maps = np.zeros((2, 4, 4), dtype=np.float32)
    maps[0, 1, 1] = 1
    maps[1, :2] = 0.5
    assert entropy(maps).tolist() == [0, 3]
    maps[1, 3] = -0.5
    assert entropy(maps)[1] == 3
    with np.errstate(all="ignore"):
        assert not np.isfinite(Entropy(clip_range=(-1, 1)).compute(maps[1]))


def test_entropy_of_volumes_and_of_none() -> None:
    """Volumes are pixels like others, and an image without maps has no measures."""
    assert entropy(np.full((1, 2, 4, 8), 0.25)).tolist() == [6]
    assert entropy(np.zeros((0, 4, 4))).shape == (0,)


@given(maps_of_any_kind)
def test_correlations_are_those_of_numpy_and_scipy(maps: Any) -> None:
    """Pearson and Spearman agree with the libraries, ties included; constant maps give NaN."""
    first, second = maps[0], maps[1]
    if np.ptp(first) < 1e-3 or np.ptp(second) < 1e-3:
        return
    expected = np.corrcoef(first.ravel().astype(np.float64), second.ravel().astype(np.float64))[0, 1]
    assert pearson(first, second) == pytest.approx(expected, abs=1e-9)
    assert spearman(first, second) == pytest.approx(spearmanr(first.ravel(), second.ravel()).statistic, abs=1e-9)


@pytest.mark.parametrize("other", [np.ones((3, 3)), np.full((3, 3), np.nan), np.full((3, 3), np.inf)])
def test_maps_without_information_correlate_with_nothing(other: Any) -> None:
    """Constant maps and numbers that are none give NaN."""
    varying = RANDOM.random((3, 3))
    assert math.isnan(pearson(varying, other))
    assert math.isnan(spearman(other, varying))


def test_a_map_that_looks_like_the_masks_is_found() -> None:
    """The mean mask itself, scaled and shifted, correlates fully; noise does not."""
    mean_mask = RANDOM.random((40, 40))
    maps = np.stack([2 * mean_mask - 1, -mean_mask, RANDOM.random((40, 40))])
    found = mask_correlation(maps, mean_mask)
    np.testing.assert_allclose(found[:2], [1, -1], atol=1e-6)
    assert abs(found[2]) < 0.1


def test_a_map_upside_down_has_the_opposite_ranks() -> None:
    """Signs count: the negative of a map is at -1, its absolute values are another map."""
    varying = RANDOM.normal(size=(4, 5, 6))
    assert spearman(varying, -varying) == pytest.approx(-1)
    assert spearman(varying, np.exp(varying)) == pytest.approx(1)
    assert pearson(varying, np.exp(varying)) < 0.95
    assert abs(spearman(varying, np.abs(varying))) < 0.5


@pytest.mark.parametrize("number", [2, 3, 50])
def test_pairwise_correlation_is_the_mean_of_all_pairs(number: int) -> None:
    """The closed form gives what all pairs give one by one."""
    common = RANDOM.random((8, 8))
    maps = [common + RANDOM.random((8, 8)) for _ in range(number)]
    pairs = PairwiseCorrelation()
    for each in maps:
        pairs.add(each)
    matrix = np.corrcoef([each.ravel() for each in maps])
    expected = matrix[np.triu_indices(number, 1)].mean()
    assert pairs.result() == pytest.approx(expected, abs=1e-9)  # sums are of whole numbers


def test_pairwise_correlation_leaves_out_what_cannot_be_compared() -> None:
    """Constant maps, maps of another size and a single map do not count."""
    pairs = PairwiseCorrelation()
    assert math.isnan(pairs.result())
    first, second = RANDOM.random((2, 5, 5))
    pairs.add(first)
    pairs.add(np.ones((5, 5)))
    pairs.add(RANDOM.random((6, 6)))
    pairs.add(np.full((5, 5), np.nan))
    assert math.isnan(pairs.result())
    pairs.add(second)
    assert pairs.result() == pytest.approx(pearson(first, second))
