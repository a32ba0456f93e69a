"""Dividing a data set into parts: no patient in two of them, and every class in each in the same share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-9
"""Differences below are from rounding."""


def split_groups(labels: Sequence[int], groups: Sequence[Hashable], shares: Sequence[float], seed: int) -> NDArray[Any]:
    """Divide items into parts of given shares, whole groups at a time.

    Greedy, after the iterative stratification of Sechidis et al. (2011, ECML PKDD): the groups come in a random order,
    the largest first, and each goes to the part that lacks most of what it holds, in whole groups like it; of equals,
    to the one that lacks most items. Parts of single items have the share of each class that they should have, to one
    item, and so of rare classes together; large groups are evened out by the small ones after them.

    Args:
        labels: Class of each item, from 0.
        groups: Group of each item.
        shares: Share of each part; they add up to 1.
        seed: The same seed gives the same parts.

    Returns:
        The part of each item, int (N,).
    """
    _, group_of = np.unique([str(each) for each in groups], return_inverse=True)
    pairs, counts = np.unique(np.stack([group_of, labels], axis=1), axis=0, return_counts=True)
    starts = np.searchsorted(pairs[:, 0], np.arange(group_of.max() + 2))
    sizes, totals = np.bincount(group_of), np.bincount(labels)
    lacking = np.outer(totals, shares)
    lacking_in_all = len(labels) * np.asarray(shares, dtype=float)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        held = slice(starts[group], starts[group + 1])
        classes, number = pairs[held, 1], counts[held, None]
        lack = lacking[classes] / number
        # How often the group still fits in whole; a part that lacks a fraction is ahead of one that lacks nothing.
        fits = np.floor(lack + _TINY) - (lack < _TINY)
        need = (fits * number**2 / totals[classes, None]).sum(axis=0)
        best = np.flatnonzero(need >= need.max() - _TINY)
        part_of[group] = part = best[lacking_in_all[best].argmax()]
        lacking[classes, part] -= number[:, 0]
        lacking_in_all[part] -= sizes[group]
    return part_of[group_of]
