"""Parts: no group in two of them, and the same share of each class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from runner.images import split_groups

SHARES = (0.7, 0.15, 0.15)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60), st.integers(0, 9))
def test_groups_stay_whole(items: list[tuple[int, int]], seed: int) -> None:
    """Whatever the groups."""
    labels, groups = zip(*items, strict=True)
    parts = split_groups(labels, groups, SHARES, seed)
    part_of = dict(zip(groups, parts.tolist(), strict=True))
    assert [part_of[group] for group in groups] == parts.tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(0, 9))
def test_single_items_are_shared_exactly(labels: list[int], seed: int) -> None:
    """Without groups each part has its share of each class, to one item."""
    parts = split_groups(labels, range(len(labels)), SHARES, seed)
    for label in set(labels):
        number = labels.count(label)
        for part, share in enumerate(SHARES):
            assert abs(sum(parts[np.array(labels) == label] == part) - share * number) <= 1


@pytest.mark.parametrize(("number", "each"), [(1000, 2), (1000, 3), (100, 3), (50, 4), (100, 1)])
def test_rare_classes_reach_all_parts(number: int, each: int) -> None:
    """Classes of few items have no part of their own choice: together they have the shares."""
    parts = split_groups(np.repeat(np.arange(number), each).tolist(), range(number * each), SHARES, 0)
    assert np.bincount(parts, minlength=3) / len(parts) == pytest.approx(np.array(SHARES), abs=0.03)


def test_folds_leave_a_test_part() -> None:
    """Also where a fold and the test part want one of five items of each class."""
    parts = split_groups(np.repeat(np.arange(100), 5).tolist(), range(500), [0.17] * 5 + [0.15], 0)
    assert np.bincount(parts) / 500 == pytest.approx(np.array([0.17] * 5 + [0.15]), abs=0.01)


def test_as_even_as_scikit_learn() -> None:
    """With patients of very different sizes the shares of the rare class are as even as StratifiedGroupKFold's."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), random.geometric(0.1, 200))
    labels = (random.random(200)[groups] ** 3 > random.random(len(groups)) * 3).astype(int)
    folds = split_groups(labels.tolist(), groups.tolist(), [0.2] * 5, 0)
    theirs = np.empty(len(labels), int)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for fold, (_, held) in enumerate(splitter.split(labels, labels, groups)):
        theirs[held] = fold

    def spread(parts: np.ndarray) -> float:
        return float(np.std([labels[parts == part].sum() for part in range(5)]))

    assert spread(folds) <= spread(theirs) + 1
    assert np.std(np.bincount(folds)) <= 0.05 * len(labels)


def test_seed() -> None:
    """The same seed gives the same parts, another one others."""
    labels, groups = [0, 1] * 50, list(range(100))
    first, again, other = (split_groups(labels, groups, SHARES, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("groups", [["a", "b", "c"], [1, 2, 3], ["1", "10", "2"]])
def test_few_groups_are_spread(groups: list[str | int]) -> None:
    """Three groups make three parts."""
    assert set(split_groups([0, 0, 0], groups, [1 / 3] * 3, 0).tolist()) == {0, 1, 2}
