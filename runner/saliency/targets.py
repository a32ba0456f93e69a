"""Which classes of an image are explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.errors import RunFailedError
from runner.params.saliency import num_top_classes
from runner.saliency.explanation import predicted_class


class LabelError(RunFailedError):
    """The label of an image is no class that can be explained: a matter of that image."""


def chosen_targets(choice: str | Sequence[int], scores: NDArray[Any], label: int) -> list[int]:
    """Return the classes to explain.

    Args:
        choice: The parameter ``saliency_targets``.
        scores: The scores of the whole image, float (K,). A single score has one class to explain, 0.
        label: The true class, -1 where it is not known.

    Raises:
        RunFailedError: there is no such class.
    """
    num_classes = len(scores)
    if choice == "all":
        return list(range(num_classes))
    top = num_top_classes(choice)
    if top is not None:
        return [int(each) for each in (-scores).argsort(kind="stable")[:top]]
    if choice == "predicted":
        return [0 if num_classes == 1 else predicted_class(scores)]
    if choice == "label":
        if label < 0:
            raise LabelError(
                "saliency_targets=label needs the true class of each image: get_saliency_labels gave none."
            )
        wanted = [0 if num_classes == 1 and label == 1 else label]
    else:
        wanted = [int(each) for each in choice]
    unknown = [each for each in wanted if each >= num_classes]
    if unknown:
        kind = LabelError if choice == "label" else RunFailedError
        raise kind(
            f"saliency_targets={choice if isinstance(choice, str) else list(choice)}: there is no class {unknown[0]}, "
            f"get_saliency_scores gives scores for {num_classes}, counted from 0."
        )
    return wanted


def target_indices(choice: str | Sequence[int], scores: Tensor, label: int) -> Tensor:
    """Return what :func:`chosen_targets` does, int64 (T,), without asking the device for the scores.

    Args:
        choice: The parameter ``saliency_targets``.
        scores: The scores of the whole image, float (K,), on any device.
        label: The true class, -1 where it is not known.

    Raises:
        RunFailedError: there is no such class.
    """
    top = num_top_classes(choice)
    if top is not None:
        return scores.argsort(descending=True, stable=True)[:top]
    if choice == "predicted" and len(scores) > 1:
        return scores.argmax()[None]
    return torch.tensor(chosen_targets(choice, np.zeros(len(scores)), label), device=scores.device)
