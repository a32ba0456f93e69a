"""The form in which a model gives what it predicts, batch by batch, and its check.

A mapping with, for classes, ``labels`` and either ``logits`` or ``probabilities``; for numbers ``targets`` and
``predictions``; for both, where wanted, ``ids`` of the items and ``names`` of the classes or outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TRUTH_OF = {"logits": "labels", "probabilities": "labels", "predictions": "targets"}
"""The key of the truth that goes with each kind of values."""
MOST_CLASSES = 2000
"""More would make files that nobody reads."""
MOST_OUTPUTS = 64
"""More numbers per item are an image or a signal, for which these measures and files are not made."""
_SUM_TOLERANCE = 0.02
"""How far probabilities in half precision may be from a sum of 1."""


class FormError(ValueError):
    """What a model gives is not in the form; the message says what is wrong and what is needed."""


@dataclass(frozen=True)
class Predictions:
    """What was predicted for each item, in the order of the data, and what is true."""

    kind: Literal["classification", "regression"]
    values: NDArray[np.float64]
    """Probabilities (N, K) or predicted numbers (N, P)."""
    truth: Array
    """The true classes, int (N,), or the true numbers, float (N, P)."""
    ids: tuple[str, ...]
    """What the data calls each item; empty where that is not known."""
    names: tuple[str, ...]
    """Of the K classes or P outputs."""


@dataclass(frozen=True)
class Batch:
    """The checked predictions of one batch."""

    key: str
    """``logits``, ``probabilities`` or ``predictions``."""
    values: Array
    """Float (B, K); one column of logits or probabilities stands for the second of two classes."""
    truth: Array
    """Int (B,) or float (B, P)."""
    ids: tuple[str, ...] | None
    names: tuple[str, ...]

    def items(self) -> Iterator[Batch]:
        """Yield each item as a batch of its own."""
        for place in range(len(self.truth)):
            one = slice(place, place + 1)
            ids = None if self.ids is None else self.ids[one]
            yield replace(self, values=self.values[one], truth=self.truth[one], ids=ids)


def means_form(found: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping is meant to be in the form, if perhaps wrongly; what else a model returns is no matter."""
    return any(key in found for key in (*TRUTH_OF, "scores")) and any(key in found for key in TRUTH_OF.values())


def read_batch(found: Mapping[Any, Any]) -> Batch:
    """Return the predictions of one batch.

    Args:
        found: The mapping, with NumPy arrays, lists or numbers.

    Raises:
        FormError: it is not in the form.
    """
    keys = [key for key in TRUTH_OF if key in found]
    if len(keys) != 1 or TRUTH_OF[keys[0]] not in found:
        raise FormError(
            "needed are labels with logits or probabilities, or targets with predictions; "
            f"there are {', '.join(map(str, found)) or 'none'}"
        )
    key = keys[0]
    values = _columns(key, found[key], MOST_OUTPUTS if key == "predictions" else MOST_CLASSES)
    truth_key = TRUTH_OF[key]
    truth = _labels(found[truth_key]) if truth_key == "labels" else _columns(truth_key, found[truth_key], MOST_OUTPUTS)
    if len(truth) != len(values) or (truth.ndim == 2 and truth.shape != values.shape):
        raise FormError(f"{key} are {values.shape}, but {truth_key} are {truth.shape}")
    return Batch(key, values, truth, _ids(found.get("ids"), len(values)), _names(found.get("names")))


def join_batches(batches: Sequence[Batch]) -> Predictions:
    """Return the predictions of all batches.

    Raises:
        FormError: the batches do not fit one another, a label is out of range, or there are no items.
    """
    batches = [each for each in batches if len(each.values)]
    if not batches:
        raise FormError("there are no items")
    first = batches[0]
    for number, each in enumerate(batches):
        if (each.key, each.values.shape[1]) != (first.key, first.values.shape[1]):
            raise FormError(
                f"batch {number} has {each.key} with {each.values.shape[1]} columns, the first one "
                f"{first.key} with {first.values.shape[1]}"
            )
    values = np.concatenate([each.values for each in batches]).astype(np.float64)
    truth = np.concatenate([each.truth for each in batches])
    if first.key != "predictions":
        values = _probabilities(first.key, values)
        _check_range(truth, values.shape[1])
    num_columns = values.shape[1]
    if first.names and len(first.names) != num_columns:
        raise FormError(f"names: there are {len(first.names)} for {num_columns} {_columns_of(first.key)}")
    names = first.names or tuple(map(str, range(num_columns)))
    ids = tuple(id_ for each in batches for id_ in each.ids or ("",) * len(each.values))
    return Predictions("regression" if first.key == "predictions" else "classification", values, truth, ids, names)


def _columns_of(key: str) -> str:
    return "outputs" if key == "predictions" else "classes"


def _array(key: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # lists of different lengths, of tensors on a GPU
        raise FormError(f"{key}: {error}") from None
    if array.dtype.kind not in "fiub":
        raise FormError(f"{key} are no numbers but {array.dtype}")
    return array


def _columns(key: str, value: Any, most: int) -> Array:
    array = _array(key, value)
    if array.ndim not in (1, 2):
        raise FormError(f"{key} are {array.shape}; needed is (batch,) or (batch, {_columns_of(key)})")
    array = array[:, None] if array.ndim == 1 else array
    if array.shape[1] > most:
        raise FormError(f"{key} are {array.shape}; there may be {most} {_columns_of(key)} at most")
    if not np.isfinite(array).all():
        raise FormError(f"{key} are not all finite")
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)  # a copy: *value* may be part of more


def _labels(value: Any) -> Array:
    array = _array("labels", value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise FormError(f"labels are {array.shape}; needed is (batch,), the number of each item's class")
    array = array.astype(np.float64)
    if not ((np.abs(array) < 2**53) & (array == np.floor(array))).all():  # NaN and infinity are not
        raise FormError("labels are no whole numbers")
    return array.astype(np.int64)


def _ids(value: Any, number: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple) or len(value) != number:
        raise FormError(f"ids: needed is one for each of the {number} items of the batch")
    return tuple(str(each) for each in value)


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise FormError("names: needed is a list of texts")
    if len(set(value)) != len(value):
        raise FormError("names: two are the same")
    return tuple(value)


def _probabilities(key: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities (N, K) of at least two classes whose rows sum to 1, from logits or probabilities."""
    if key == "logits":
        values = np.hstack([np.zeros_like(values), values]) if values.shape[1] == 1 else values
        values -= values.max(axis=1, keepdims=True)  # in place, as in the lines below: there may be a lot
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
        return values
    if values.min() < 0 or values.max() > 1:
        raise FormError(
            f"probabilities lie between {values.min():.4g} and {values.max():.4g}, not 0 and 1; are they logits?"
        )
    if values.shape[1] == 1:
        return np.hstack([1 - values, values])
    sums = values.sum(axis=1, keepdims=True)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise FormError(f"probabilities of one item sum to {sums[np.abs(sums - 1).argmax()].item():.4g}, not 1")
    values /= sums
    return values


def _check_range(labels: Array, num_classes: int) -> None:
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        item = int(wrong.argmax())
        raise FormError(f"the label of item {item} is {labels[item]}; there are the classes 0 to {num_classes - 1}")
