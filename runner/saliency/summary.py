"""What the maps of a data set say together."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from runner.saliency.explanation import Explanation
from runner.saliency.index_table import MEASURES
from runner.saliency.measures import PairwiseCorrelation


@dataclass
class _Mean:
    """The mean of numbers as they come; those that are NaN are left out."""

    total: float = 0.0
    number: int = 0

    def add(self, value: float) -> None:
        if not math.isnan(value):
            self.total += value
            self.number += 1


class Summary:
    """Takes images one after the other and keeps none of them."""

    def __init__(self) -> None:
        self.strengths = array("d")
        """Of all maps that are not flagged."""
        self._num_images = 0
        self._num_flagged = 0
        names = ("mean_strength", "peak_in_truth", "energy_in_truth", "num_masks", "quality", *MEASURES)
        self._means = {name: _Mean() for name in names}
        self._pairs = PairwiseCorrelation()

    def watch(self, explanations: Iterable[Explanation]) -> Iterator[Explanation]:
        """Yield *explanations* as they are, each after it was added."""
        for explanation in explanations:
            self.add(explanation)
            yield explanation

    def add(self, explanation: Explanation) -> None:
        """Add one image."""
        flagged = np.array([explanation.is_flagged(place) for place in range(len(explanation.targets))], dtype=bool)
        self.strengths.extend(explanation.strength[~flagged].tolist())
        self._num_images += 1
        self._num_flagged += bool(flagged.any())
        place = explanation.main
        if place is None:
            return
        if not flagged[place]:
            self._means["mean_strength"].add(float(explanation.strength[place]))
            self._pairs.add(explanation.maps[place])
        peak, energy = explanation.peak_in_truth(place), explanation.energy_in_truth(place)
        found = {"peak_in_truth": peak, "energy_in_truth": energy, "num_masks": explanation.num_masks}
        if explanation.quality is not None:
            found["quality"] = explanation.quality[place]
        found |= {name: values[place] for name, values in explanation.measures.items() if name in MEASURES}
        for name, value in found.items():
            if value is not None:
                self._means[name].add(float(value))

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the phase: counts, and means over the main maps of what is known of at least one."""
        means = {name: mean.total / mean.number for name, mean in self._means.items() if mean.number}
        correlation = self._pairs.result()
        if not math.isnan(correlation):
            means["mean_pairwise_correlation"] = correlation
        return {"num_images": self._num_images, "num_flagged": self._num_flagged} | means
