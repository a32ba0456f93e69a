"""What the maps of a data set say together."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from runner.saliency.explanation import Explanation
from runner.saliency.index_table import MEASURES
from runner.saliency.measures import PairwiseCorrelation


@dataclass
class _Mean:
    """The mean of numbers as they come, in whatever order; those that are not finite are left out."""

    total: Fraction = Fraction()
    number: int = 0

    def add(self, value: float) -> None:
        if math.isfinite(value):
            self.total += Fraction(value)
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

    def save(self, file: IO[bytes]) -> None:
        """Write all that is known of the images so far, for :meth:`take`: plain arrays."""
        totals = np.array([f"{mean.total.numerator}/{mean.total.denominator}" for mean in self._means.values()])
        numbers = np.array([mean.number for mean in self._means.values()])
        counts = np.array([self._num_images, self._num_flagged])
        arrays: dict[str, Any] = {"counts": counts, "totals": totals, "numbers": numbers} | self._pairs.state()
        np.savez(file, strengths=np.asarray(self.strengths), **arrays)

    def take(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Add all images of what :meth:`save` has written."""
        self._num_images += int(saved["counts"][0])
        self._num_flagged += int(saved["counts"][1])
        self.strengths.frombytes(saved["strengths"].tobytes())
        for mean, total, number in zip(self._means.values(), saved["totals"], saved["numbers"], strict=True):
            mean.total += Fraction(str(total))
            mean.number += int(number)
        self._pairs.take(saved)

    @property
    def num_images(self) -> int:
        """How many images were added."""
        return self._num_images

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the phase: counts, and means over the main maps of what is known of at least one."""
        means = {name: float(mean.total / mean.number) for name, mean in self._means.items() if mean.number}
        correlation = self._pairs.result()
        if not math.isnan(correlation):
            means["mean_pairwise_correlation"] = correlation
        return {"num_images": self._num_images, "num_flagged": self._num_flagged} | means
