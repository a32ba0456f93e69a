"""How much each parameter of a sweep matters to its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.shown import number_of

Array = NDArray[Any]

FEWEST_TRIALS = 8
"""With fewer a forest only repeats what it was shown."""

MOST_TRIALS = 2000
"""Of more, as many are taken, evenly spread."""

_NUM_TREES = 100


def importance(
    columns: Mapping[str, Sequence[str | None]], values: Sequence[float], num_trees: int = _NUM_TREES
) -> dict[str, float] | None:
    """Return the share of each parameter in what makes trials differ, adding up to 1, most important first.

    The permutation importance of a random forest that is fitted to parameters and metric (Breiman 2001, "Random
    forests", section 10; Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter
    importance", for using a forest's view of a parameter in this way): by how much a tree errs more, on trials that it
    was not grown from, when the values of one parameter are shuffled. The forest learns the ranks of the metric, so
    that a few diverged trials do not decide everything. A seed as a parameter is a yardstick of chance.

    Limits: the shares hold for the values that the sweep tried, and where an adaptive sampler went; trials that
    failed or were pruned are not seen; parameters that moved together, or that exist only for some value of another,
    share their importance; with a few dozen trials the shares are rough. It says how much, not which way.

    Args:
        columns: Per parameter the value in each trial, as text; None where it does not exist.
        values: The metric of each trial, finite.
        num_trees: Size of the forest.

    Returns:
        None where it cannot be told: fewer than 8 trials, a constant metric, no parameter that helps to predict it.
    """
    if len(values) < FEWEST_TRIALS or len(set(values)) < 2 or not columns:
        return None
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_TRIALS)).round().astype(int))
    features = np.stack([_numbers(column)[kept] for column in columns.values()], axis=1)
    gains = np.maximum(_gains(features, _ranks(np.asarray(values)[kept]), num_trees), 0)
    if not gains.sum() > 0:
        return None
    shares = dict(zip(columns, (gains / gains.sum()).tolist(), strict=True))
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _gains(features: Array, target: Array, num_trees: int) -> Array:
    """Return the mean rise of the trees' squared errors per shuffled feature, over trials outside of each tree."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(num_trees, random_state=0).fit(features, target)
    random = np.random.default_rng(0)
    gains = np.zeros(features.shape[1])
    for tree, inside in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        outside = np.setdiff1d(np.arange(len(target)), inside)
        if len(outside) < 2:
            continue
        own, truth = features[outside], target[outside]
        before = np.square(tree.predict(own) - truth).mean()
        for place in range(features.shape[1]):
            shuffled = own.copy()
            shuffled[:, place] = random.permutation(own[:, place])
            gains[place] += np.square(tree.predict(shuffled) - truth).mean() - before
    return gains


def _numbers(column: Sequence[str | None]) -> Array:
    """Return numbers as ranks, which is all that a tree looks at, after them texts, before them what does not exist."""
    numbers = sorted({number for value in column if (number := number_of(value)) is not None})
    texts = sorted({value for value in column if value is not None and number_of(value) is None})
    of_number = {number: place for place, number in enumerate(numbers)}
    of_text = {None: -1} | {text: len(numbers) + place for place, text in enumerate(texts)}
    keys = [(number_of(value), value) for value in column]
    return np.asarray([of_text[text] if number is None else of_number[number] for number, text in keys], dtype=float)


def _ranks(values: Array) -> Array:
    """Return ranks; equal values share one."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[place], dtype=float)
