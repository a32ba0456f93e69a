"""Which images are explained, and which items of the data set they are."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SubsetRandomSampler

from runner.errors import RunFailedError
from runner.saliency.data import ListedItems, StreamedItems, open_items
from tests.saliency_samples import Images


class Stream(IterableDataset[Any]):
    """Eleven items without places."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        for number in range(11):
            self.read += 1
            yield torch.full((3, 16, 16), float(number))


def numbers(
    loaders: list[Any],
    done: Collection[int] = (),
    limit: int | None = None,
    batches: Any = 1.0,
    failed: dict[int, Exception] | None = None,
) -> list[int]:
    """Go through the batches as the explainer does; return the number of each image that it would explain."""
    explained = []
    failures: dict[int, Exception] = {} if failed is None else failed
    for items in open_items(loaders, done, failures.__setitem__, max_items=limit, max_batches=batches):
        for batch in items.batches:
            images = batch[0] if isinstance(batch, list) else batch
            explained += [number for _, number in items.take(len(images))]
    return explained


def test_shuffled_loaders_are_read_in_the_order_of_the_data_set() -> None:
    """Shuffling, dropping the last batch and oversampling have no effect on what is explained."""
    for loader in (
        DataLoader(Images(), batch_size=4, shuffle=True, drop_last=True),
        DataLoader(Images(), batch_size=4, sampler=RandomSampler(Images(), replacement=True, num_samples=50)),
        DataLoader(Images(), batch_sampler=BatchSampler(RandomSampler(Images()), 4, drop_last=True)),
    ):
        assert numbers([loader]) == [0, 1, 2, 3, 4, 5]


def test_a_subset_sampler_says_what_belongs_to_the_split() -> None:
    """Only the indices of a SubsetRandomSampler are explained, under their numbers in the data set."""
    data = Images()
    assert numbers([DataLoader(data, batch_size=2, sampler=SubsetRandomSampler([4, 1, 3]))]) == [1, 3, 4]
    sampler = BatchSampler(SubsetRandomSampler([4, 1, 3]), 2, drop_last=False)
    assert numbers([DataLoader(data, batch_sampler=sampler)]) == [1, 3, 4]
    assert set(data.loaded) == {1, 3, 4}


def test_done_items_are_not_loaded() -> None:
    """Of a map-style data set only the missing items are read, and they keep their numbers."""
    data = Images()
    assert numbers([DataLoader(data, batch_size=2)], done={0, 1, 4}) == [2, 3, 5]
    assert data.loaded == [2, 3, 5]


def test_streams_are_numbered_as_they_come() -> None:
    """Items of an IterableDataset count from 0; those that are done are read and passed over."""
    assert numbers([DataLoader(Stream(), batch_size=4)]) == list(range(11))
    assert numbers([DataLoader(Stream(), batch_size=4)], done={0, 1, 5}) == [2, 3, 4, 6, 7, 8, 9, 10]


def test_anything_that_yields_batches_is_a_stream() -> None:
    """A list of batches, and a loader without automatic batching, are explained too."""
    batches = [torch.zeros(3, 3, 8, 8), torch.zeros(2, 3, 8, 8)]
    assert numbers([batches]) == [0, 1, 2, 3, 4]
    assert numbers([DataLoader(batches, batch_size=None)]) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]


def test_the_limit_counts_images() -> None:
    """saliency_limit ends the list, and ends a stream without reading it to its end."""
    assert numbers([DataLoader(Images(), batch_size=4)], limit=5, done={1}) == [0, 2, 3, 4]
    stream = Stream()
    assert numbers([DataLoader(stream, batch_size=2)], limit=3) == [0, 1, 2]
    assert stream.read <= 5
    assert numbers([DataLoader(Stream(), batch_size=2)], limit=3, done={0, 1, 2}) == []


@pytest.mark.parametrize(("batches", "expected"), [(1, 2), (2, 4), (0.5, 2), (1.0, 6), (0, 0), (0.0, 0)])
def test_the_limit_of_batches_does_not_depend_on_what_is_done(batches: Any, expected: int) -> None:
    """limit_predict_batches chooses among all items, and what is done is then left out."""
    loader = DataLoader(Images(), batch_size=2)
    assert numbers([loader], batches=batches) == list(range(expected))
    assert numbers([loader], batches=batches, done={0, 5}) == list(range(1, min(expected, 5)))


def test_numbers_go_on_from_one_loader_to_the_next() -> None:
    """Several loaders, listed or streamed, share one count and one limit."""
    loaders = [DataLoader(Images(3), batch_size=2), DataLoader(Stream(), batch_size=4), DataLoader(Images(2))]
    assert numbers(loaders) == list(range(16))
    assert numbers(loaders, limit=5) == [0, 1, 2, 3, 4]


def listed(loader: DataLoader[Any]) -> ListedItems:
    return ListedItems(loader, (), print, first=0, max_items=None, max_batches=1.0)


def test_a_batch_must_have_an_image_per_item() -> None:
    """Images that cannot be matched with the items of the data set are refused with both numbers."""
    items = listed(DataLoader(Images(), batch_size=4))
    next(iter(items.batches))
    with pytest.raises(RunFailedError, match="8 images for a batch of 4 items"):
        items.take(8)


def test_what_a_loader_does_besides_batching_is_kept() -> None:
    """Collating and workers of the rebuilt loader are those of the original."""

    def collate(items: list[Any]) -> Any:
        return {"image": torch.stack([item[0] for item in items])}

    loader = DataLoader(Images(), batch_size=4, collate_fn=collate, num_workers=1, prefetch_factor=3)
    items = listed(loader)
    assert (items.loader.num_workers, items.loader.prefetch_factor) == (1, 3)
    assert [list(batch) for batch in items.batches] == [["image"], ["image"]]
    assert len(items) == 2
    assert items.total == items.num_missing == 6
    assert StreamedItems([], (), first=0, max_items=None, max_batches=1.0).total is None


# --- items that cannot be loaded --------------------------------------------------------------------------------------


class CorruptError(Exception):
    """Cannot be made anew from its arguments, as many exceptions of libraries."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file} is corrupt at {line}")


class Corrupt(Images):
    """Images of which some cannot be loaded."""

    def __init__(self, places: Collection[int], number: int = 6, kind: Any = ValueError) -> None:
        super().__init__(number)
        self.places = places
        self.kind = kind

    def __getitem__(self, index: int) -> Any:
        if index in self.places:
            self.loaded.append(index)
            raise CorruptError("scan.png", index) if self.kind is CorruptError else self.kind(f"corrupt file {index}")
        return super().__getitem__(index)


class Together(Corrupt):
    """The same, with its items loaded a batch at a time."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


@pytest.mark.parametrize("kind", [Corrupt, Together])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
def test_items_that_cannot_be_loaded_are_left_out(kind: type[Corrupt], num_workers: int, batch_size: int) -> None:
    """The other items of the batch are explained under their own numbers; each failure is told once."""
    failed: dict[int, Exception] = {}
    loader = DataLoader(kind({1, 4, 5}), batch_size=batch_size, num_workers=num_workers)
    assert numbers([loader, DataLoader(Images(2))], failed=failed) == [0, 2, 3, 6, 7]
    assert {number: str(error) for number, error in failed.items()} == {n: f"corrupt file {n}" for n in (1, 4, 5)}
    assert {type(error) for error in failed.values()} == {ValueError}


def test_numbers_of_failed_items_count_all_loaders() -> None:
    """The failure of an item of the second loader has the number that its image would have."""
    failed: dict[int, Exception] = {}
    loaders = [DataLoader(Images(3), batch_size=2), DataLoader(Corrupt({1}), batch_size=4)]
    assert numbers(loaders, done={3}, limit=7, failed=failed) == [0, 1, 2, 5, 6]
    assert list(failed) == [4]


def test_an_exception_that_cannot_travel_is_told_in_words() -> None:
    """What a worker process cannot send arrives with its name and its message, and with the traceback as a note."""
    failed: dict[int, Exception] = {}
    assert numbers([DataLoader(Corrupt({2}, kind=CorruptError), batch_size=4, num_workers=1)], failed=failed) == [
        0, 1, 3, 4, 5,
    ]  # fmt: skip
    assert str(failed[2]) == "CorruptError: scan.png is corrupt at 2"
    assert "in __getitem__" in failed[2].__notes__[0]


@pytest.mark.parametrize(("num_workers", "batch_size"), [(0, 4), (1, 4), (0, 1)])
def test_data_that_cannot_be_loaded_at_all_is_a_bug(num_workers: int, batch_size: int) -> None:
    """When not one of the first items can be loaded, the data set's own error is raised instead of told."""
    loader = DataLoader(Corrupt(range(6)), batch_size=batch_size, num_workers=num_workers)
    with pytest.raises(ValueError, match="corrupt file"):
        numbers([loader])


def test_a_single_corrupt_item_is_no_bug() -> None:
    """With batches of one, a corrupt first item does not end the phase; nor does one that alone is missing."""
    failed: dict[int, Exception] = {}
    assert numbers([DataLoader(Corrupt({0}))], failed=failed) == [1, 2, 3, 4, 5]
    assert numbers([DataLoader(Corrupt({2, 3}), batch_size=2)], done={0, 1, 4, 5}, failed=failed) == []
    assert list(failed) == [0, 2, 3]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_being_asked_to_stop_is_no_failure_of_an_item(kind: type[BaseException]) -> None:
    """Ctrl-C and exit pass through."""
    with pytest.raises(kind):
        numbers([DataLoader(Corrupt({1}, kind=kind), batch_size=4)])


def test_a_batch_function_that_fails_is_a_bug() -> None:
    """What collate_fn raises is no matter of one item."""

    def collate(items: list[Any]) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        numbers([DataLoader(Images(), batch_size=4, collate_fn=collate)])
