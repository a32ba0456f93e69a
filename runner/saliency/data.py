"""Which images of a data loader are to be explained, and which items of the data set they are."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler

from runner.errors import RunFailedError
from runner.saliency.loaded_items import CollateLoaded, LoadedItems

Limit = int | float
"""Batches as Lightning's ``limit_predict_batches`` counts them: an int is that many, a float that part of them."""

GIVE_UP_AFTER = 100
"""Items that fail before one is loaded, or images before one is explained: then it is no matter of these."""

OnFailed = Callable[[int, Exception], None]
"""Called with the number of an item that cannot be loaded, and the reason."""

Owns = Callable[[int], bool]
"""Tells whether the item with a number is for this process to explain."""


def owns_all(number: int) -> bool:
    """Tell that every item is for this process."""
    del number
    return True


class ListedItems:
    """The images of a data set with places: in the order of the data set, those that are done are not even loaded.

    The loader is built anew, without shuffling. What it leaves out stays out: the indices that a SubsetRandomSampler
    does not have, as in a common way to split one data set. An item whose loading raises is left out of its batch.
    """

    batch_limit: Limit = 1.0
    """What is left for the Trainer's ``limit_predict_batches``: nothing, the limit is in the list already."""

    def __init__(
        self,
        loader: DataLoader[Any],
        done: Collection[int],
        on_failed: OnFailed,
        *,
        first: int,
        max_items: int | None,
        max_batches: Limit,
        owns: Owns = owns_all,
    ) -> None:
        """Make the list.

        Args:
            loader: A loader that makes batches of a map-style data set.
            done: Numbers of items to leave out.
            on_failed: Told of each item that cannot be loaded.
            first: Number of the data set's first item.
            max_items: How many items there are at most, those that are done included.
            max_batches: How many batches there are at most, likewise.
            owns: Which of them are for this process.
        """
        dataset: Any = loader.dataset
        batch_size: int = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
        places = _places(loader)[:max_items]
        is_part = isinstance(max_batches, float)
        num_batches = math.floor(math.ceil(len(places) / batch_size) * max_batches) if is_part else max_batches
        places = places[: int(num_batches) * batch_size]
        self.num_items = len(places)
        """How many images there are, those of other processes included."""
        self.end = first + len(dataset)
        self.batch_size = batch_size
        self.total, self._missing = 0, array("q")
        for place in places:
            if owns(first + place):
                self.total += 1
                if first + place not in done:
                    self._missing.append(place)
        self._first = first
        self._on_failed = on_failed
        self._loaded: deque[list[int]] = deque()
        self.loader = _reordered(loader, LoadedItems(dataset, self._missing), batch_size)
        """Makes pairs of a batch and the items of it that failed; see :class:`LoadedItems`."""
        self.batches: Iterable[Any] = self

    def __len__(self) -> int:
        """Return how many batches there are at most: one of which no item can be loaded is left out."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of what can be loaded.

        Raises:
            Exception: what the data set raised, where not one item can be loaded: that is no matter of items.
        """
        failed, any_loaded = 0, bool(self.num_done)
        first_error: Exception | None = None
        for number, (batch, failures) in enumerate(self.loader):
            expected = self._missing[number * self.batch_size : (number + 1) * self.batch_size]
            loaded = [place for place in expected if place not in failures]
            failed, any_loaded = failed + len(failures), any_loaded or bool(loaded)
            for place, error in failures.items():
                first_error = first_error or error
                self._on_failed(self._first + place, error)
            if failed >= GIVE_UP_AFTER and not any_loaded:
                break
            if loaded:
                self._loaded.append(loaded)
                yield batch
        enough = 2 if self.total == self.num_items else GIVE_UP_AFTER  # a part may be a few corrupt items by chance
        if first_error is not None and failed >= enough and not any_loaded:
            raise first_error

    @property
    def num_done(self) -> int:
        """How many images are explained already."""
        return self.total - len(self._missing)

    @property
    def num_missing(self) -> int:
        """How many images are to be explained."""
        return len(self._missing)

    def take(self, num_images: int) -> list[tuple[int, int]]:
        """Return for each image of the next batch to explain its place in the batch and its number.

        Raises:
            RunFailedError: the batch holds another number of images than of items.
        """
        expected = self._loaded.popleft()
        if num_images != len(expected):
            raise RunFailedError(
                f"get_saliency_images returned {num_images} images for a batch of {len(expected)} items."
            )
        return [(place, self._first + item) for place, item in enumerate(expected)]


class StreamedItems:
    """The images of anything that yields batches, numbered as they come; those that are done are passed over.

    What its iterator raises ends the phase: no iterator promises to go on after an exception.
    """

    total: int | None = None
    num_missing: int | None = None

    def __init__(
        self,
        loader: Iterable[Any],
        done: Collection[int],
        *,
        first: int,
        max_items: int | None,
        max_batches: Limit,
        owns: Owns = owns_all,
    ) -> None:
        """Start counting; the arguments mean what they mean to :class:`ListedItems`."""
        self.batch_limit = max_batches
        self.end = self._first = first
        self.num_done = len(done)
        self._loader, self._done, self._owns = loader, done, owns
        self._stop = math.inf if max_items is None else first + max_items
        self.batches: Iterable[Any] = self

    def __iter__(self) -> Iterator[Any]:
        """Yield batches until there are enough images."""
        for batch in self._loader:
            yield batch
            if self.end >= self._stop:
                return

    def take(self, num_images: int) -> list[tuple[int, int]]:
        """Return for each image of the next batch to explain its place in the batch and its number."""
        numbers = range(self.end, self.end + num_images)
        self.end += num_images
        return [
            (place, number)
            for place, number in enumerate(numbers)
            if number < self._stop and self._owns(number) and number not in self._done
        ]

    @property
    def num_items(self) -> int:
        """How many images have come so far, those of other processes included."""
        return self.end - self._first


Items = ListedItems | StreamedItems


def open_items(
    loaders: Sequence[Any],
    done: Collection[int],
    on_failed: OnFailed,
    *,
    max_items: int | None,
    max_batches: Limit,
    owns: Owns = owns_all,
) -> Iterator[Items]:
    """Yield what to explain of each loader in turn; the numbers go on from one loader to the next.

    Args:
        loaders: Loaders, or anything else that yields batches.
        done: Numbers of items that are explained already.
        on_failed: Told of each item that cannot be loaded.
        max_items: How many items there are at most in all; None: all.
        max_batches: How many batches of each loader.
        owns: Which items are for this process; the limits count all.
    """
    first, left = 0, max_items
    for loader in loaders:
        if left == 0:
            return
        limits: dict[str, Any] = {"first": first, "max_items": left, "max_batches": max_batches, "owns": owns}
        items: Items
        if is_listed(loader):
            items = ListedItems(loader, done, on_failed, **limits)
        else:
            items = StreamedItems(loader, done, **limits)
        yield items
        if left is not None:
            left = max(0, left - items.num_items)
        first = items.end


def is_listed(loader: Any) -> bool:
    """Tell whether *loader* makes batches of a data set whose items have places."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    return loader.batch_sampler is not None and hasattr(loader.dataset, "__len__")


def _places(loader: DataLoader[Any]) -> Sequence[int]:
    dataset: Any = loader.dataset
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, SubsetRandomSampler):
        return sorted(sampler.indices)
    return range(len(dataset))


def _reordered(loader: DataLoader[Any], dataset: LoadedItems, batch_size: int) -> DataLoader[Any]:
    workers: dict[str, Any] = {}
    if loader.num_workers:
        workers = {"prefetch_factor": loader.prefetch_factor, "multiprocessing_context": loader.multiprocessing_context}
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=False,
        collate_fn=CollateLoaded(loader.collate_fn),
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        generator=loader.generator,
        **workers,
    )
