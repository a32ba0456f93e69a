"""Which measures are taken of the maps of each image, and the models and strategies that they need."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.params.saliency import RANDOM_METHODS
from runner.saliency.classifier import BATCH_SIZE, checked_scores
from runner.saliency.curves import deletion_insertion
from runner.saliency.explanation import Explanation
from runner.saliency.fills import fill_of
from runner.saliency.measures import entropy, mask_correlation, pearson, spearman
from runner.saliency.randomization import randomized_copy
from runner.saliency.raw_maps import Strategy
from runner.saliency.strategies import create_strategy

if TYPE_CHECKING:
    from runner.container import LightningContainer

Array = NDArray[Any]
log = logging.getLogger(__name__)

NUM_STEPS = 32
"""Of the deletion and insertion curves."""

NOT_OF_SCORES = ("drise", "sbsm")
"""Methods that explain something else than ``get_saliency_scores``: no classes, no labels."""


class Checks:
    """Takes the measures of one explanation after the other.

    Those that need forward passes are taken of the main map (see ``Explanation.main``) of the first
    ``saliency_checks_limit`` images. The names are those of the columns of ``index.csv``.
    """

    def __init__(self, container: LightningContainer, model: nn.Module) -> None:
        self._container = container
        self._model = model
        explains_scores = container.saliency_method not in NOT_OF_SCORES
        self._chosen = set(container.saliency_checks) if explains_scores else set()
        if container.saliency_method not in RANDOM_METHODS:
            self._chosen.discard("repeatability")  # the map of another seed would be the same
        self._others: dict[str, Strategy] = {}
        self._random: list[nn.Module | None] = []

    def measures(self, explanation: Explanation, image: Tensor, mean_mask: Array | None) -> dict[str, Array]:
        """Return the measures of the maps of one image, float32 (T,) each; NaN where one does not apply.

        Args:
            explanation: The maps.
            image: float (C, *size), as the model takes it.
            mean_mask: float (*size), the mean of the masks, where they are random.
        """
        measures = {"entropy": entropy(explanation.maps)}
        if mean_mask is not None:
            measures["mask_correlation"] = mask_correlation(explanation.maps, mean_mask)
        place = explanation.main
        if place is None or explanation.index >= self._container.saliency_checks_limit:
            return measures
        for name, value in self._checks(explanation, place, image).items():
            measures[name] = np.full(len(explanation.targets), np.nan, dtype=np.float32)
            measures[name][place] = value
        return measures

    def _checks(self, explanation: Explanation, place: int, image: Tensor) -> dict[str, float]:
        found: dict[str, float] = {}
        if explanation.is_flagged(place):
            return found
        if chosen := [name for name in ("deletion", "insertion") if name in self._chosen]:
            found = self._curves(explanation, place, image, chosen)
        target, maps = int(explanation.targets[place]), explanation.maps[place]
        if "randomization" in self._chosen:
            random = self._random_model(image)
            if random is not None:
                other = self._other_map("random model", random, image, target)
                found["randomization_correlation"] = abs(spearman(maps, other))
        if "repeatability" in self._chosen:
            found["repeatability"] = pearson(maps, self._other_map("other seed", self._model, image, target))
        return found

    def _curves(self, explanation: Explanation, place: int, image: Tensor, chosen: Sequence[str]) -> dict[str, float]:
        container = self._container
        fill = container.saliency_fill if container.saliency_method != "mc_rise" else "mean"  # it has colours instead
        areas = deletion_insertion(
            lambda images: checked_scores(container, self._model, images),
            image,
            fill_of(fill, image),
            torch.from_numpy(explanation.maps[place : place + 1]).to(image.device),
            torch.tensor([int(explanation.targets[place])], device=image.device),
            steps=NUM_STEPS,
            batch_size=container.saliency_batch_size or BATCH_SIZE,
            seed=(container.saliency_seed, explanation.index),
            curves=chosen,
        )
        return {name: float(values[0]) for name, values in areas.items()}

    def _random_model(self, image: Tensor) -> nn.Module | None:
        """Return the model with random weights; None where there can be none that predicts something else."""
        if not self._random:
            try:
                random = randomized_copy(self._model, self._container.saliency_seed)
            except NotImplementedError as error:
                log.warning("saliency: no randomization check, %s", error)
                self._random.append(None)
                return None
            images = torch.stack([image, image])
            scores = [checked_scores(self._container, each, images.clone()) for each in (self._model, random)]
            self._random.append(None if torch.equal(*scores) else random)
        return self._random[0]

    def _other_map(self, kind: str, model: nn.Module, image: Tensor, target: int) -> Array:
        """Return the map of the same target, float (*size), of a model with masks of another seed.

        With the same masks, what they leave in a map would pass for likeness of the models.
        """
        if kind not in self._others:
            seed = (self._container.saliency_seed + 1) % 2**32
            changes = {"saliency_targets": "label", "saliency_precision": "exact", "saliency_seed": seed}
            container = cast("LightningContainer", _Changed(self._container, changes))
            self._others[kind] = create_strategy(container, model, image[None], 1)
        [raw] = self._others[kind].explain(image[None], [target], None)
        maps: Array = raw.maps[0]
        return maps


class _Changed:
    """A container with other values for some parameters; the container itself stays as it is."""

    def __init__(self, container: LightningContainer, changes: dict[str, Any]) -> None:
        self._container = container
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)
