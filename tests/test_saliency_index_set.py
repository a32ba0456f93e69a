"""Sets of indices that take few bytes."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from runner.saliency.index_set import IndexSet

INDICES = st.lists(st.integers(0, 5000) | st.integers(0, 10**12))


@given(INDICES, INDICES)
def test_it_is_a_set(first: list[int], second: list[int]) -> None:
    """As Python's own, in order."""
    found = IndexSet(first)
    assert list(found) == sorted(set(first))
    assert set(found) == set(first)
    assert set(found & set(second)) == set(first) & set(second)
    assert [index in found for index in second] == [index in set(first) for index in second]
    assert len(found) == len(set(first))


@given(st.sets(st.integers(0, 30)), st.integers(0, 30), st.integers(0, 30))
def test_runs_of_numbers(indices: set[int], start: int, stop: int) -> None:
    """has_all is true of those only that are in without a gap."""
    assert IndexSet(indices).has_all(start, stop) == indices.issuperset(range(start, stop))


def test_a_million_take_little() -> None:
    """Less than half a byte each."""
    tracemalloc.start()
    found = IndexSet(range(200_000))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 200_000
    assert size < 100_000
