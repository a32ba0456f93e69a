"""Items of a data set that may fail to load, such as corrupt files, on their way through a DataLoader."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Subset, get_worker_info


@dataclass(frozen=True)
class FailedItem:
    """Stands for an item that could not be loaded."""

    place: int
    error: Exception


class LoadedItems(Subset[Any]):
    """Some items of a data set; those whose loading raises come as a :class:`FailedItem`."""

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the items of a batch, loaded together where the data set can.

        Args:
            indices: Places in ``self.indices``.
        """
        places = [self.indices[index] for index in indices]
        together = getattr(self.dataset, "__getitems__", None)
        if callable(together):
            try:
                return list(together(places))
            except Exception:  # noqa: S110 - one by one tells which it is
                pass
        return [self._load(place) for place in places]

    def _load(self, place: int) -> Any:
        try:
            return self.dataset[place]
        except Exception as error:  # of the user's data set
            return FailedItem(place, error if get_worker_info() is None else _portable(error))


class CollateLoaded:
    """Collates the items of a batch that could be loaded."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        """Wrap the user's function.

        Args:
            collate: Makes a batch of items.
        """
        self._collate = collate

    def __call__(self, items: Sequence[Any]) -> tuple[Any, dict[int, Exception]]:
        """Return the batch, None where no item could be loaded, and by place why the others could not."""
        loaded = [item for item in items if not isinstance(item, FailedItem)]
        failures = {item.place: item.error for item in items if isinstance(item, FailedItem)}
        return self._collate(loaded) if loaded else None, failures


def _portable(error: Exception) -> Exception:
    """Return an exception that reaches the main process, with the traceback that stays behind as a note."""
    text = "".join(traceback.format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # many exceptions cannot be made anew from their arguments
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"raised in a data loader worker:\n{text}")
    return copy
