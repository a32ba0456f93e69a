"""Dividing a data set into parts: no patient in two of them, and every class in each in the same share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def split_groups(labels: Sequence[int], groups: Sequence[Hashable], shares: Sequence[float], seed: int) -> NDArray[Any]:
    """Divide items into parts of given shares, whole groups at a time.

    Greedy, after the iterative stratification of Sechidis et al. (2011, ECML PKDD): the groups come in a random order,
    the largest first, and each goes to the part that lacks most of what it holds. Parts of single items have the share
    of each class that they should have, to one item; large groups are evened out by the small ones after them.

    Args:
        labels: Class of each item, from 0.
        groups: Group of each item.
        shares: Share of each part; they add up to 1.
        seed: The same seed gives the same parts.

    Returns:
        The part of each item, int (N,).
    """
    _, group_of = np.unique([str(each) for each in groups], return_inverse=True)
    counts = np.zeros((group_of.max() + 1, max(labels) + 1))
    np.add.at(counts, (group_of, np.asarray(labels)), 1)
    totals = counts.sum(axis=0)
    lacking = np.outer(shares, totals)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of = np.empty(len(counts), dtype=np.int64)
    for group in order:
        need = (lacking * counts[group] / np.maximum(totals, 1)).sum(axis=1)
        part_of[group] = part = int(need.argmax())
        lacking[part] -= counts[group]
    return part_of[group_of]
