"""Whether the maps of a run can be believed: what their measures say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.reports.chosen_maps import MapRow
from runner.shown import format_number

HIGH_CORRELATION = 0.5
"""Maps that are more alike than this, or more like the mean mask, show the method or the data set, not the image."""

HIGH_RANDOMIZATION = 0.6
"""Maps of unrelated models come to 0.3 or 0.4 without being alike."""


@dataclass(frozen=True)
class Check:
    """One check of all maps."""

    name: str
    value: str
    says: str
    is_bad: bool = False


def map_checks(rows: Sequence[MapRow], metrics: Mapping[str, float], pairwise: float) -> list[Check]:
    """Return what the checks say.

    Args:
        rows: Of all images.
        metrics: Of the saliency phase; empty where it did not come to its end.
        pairwise: Mean correlation of the maps that are shown with one another, which stands in for that of all.
    """
    found = [_pairwise(metrics.get("mean_pairwise_correlation", pairwise), is_of_all=bool(metrics))]
    found.append(_mean_mask(rows))
    found.append(_randomization(rows))
    found += [check for check in (_compared(rows, "deletion", -1), _compared(rows, "insertion", 1)) if check]
    if repeated := _mean(rows, "repeatability"):
        value, count = repeated
        says = f"with the maps of another seed, {count} images; 1 is best"
        found.append(Check("repeatability", format_number(value), says, value < HIGH_CORRELATION))
    return found


def _pairwise(value: float, *, is_of_all: bool) -> Check:
    name = "correlation of the maps with one another"
    if math.isnan(value):
        return Check(name, "not known", "it takes two maps of one size")
    is_bad = value > HIGH_CORRELATION
    says = "the maps hardly depend on the image" if is_bad else "the maps differ from image to image"
    return Check(name, format_number(value), says + ("" if is_of_all else ", those that are shown"), is_bad)


def _mean_mask(rows: Sequence[MapRow]) -> Check:
    name = "correlation with the mean mask"
    found = [abs(row.numbers["mask_correlation"]) for row in rows if "mask_correlation" in row.numbers]
    if not found:
        return Check(name, "not measured", "only methods with random masks have one")
    mean, high = sum(found) / len(found), sum(value > HIGH_CORRELATION for value in found)
    says = f"mean of the absolute values; {high} of {len(found)} maps are above {HIGH_CORRELATION}"
    return Check(name, format_number(mean), says, mean > HIGH_CORRELATION)


def _randomization(rows: Sequence[MapRow]) -> Check:
    name = "correlation with the maps of a random model"
    found = _mean(rows, "randomization_correlation")
    if found is None:
        return Check(name, "not measured", "--saliency_checks=randomization measures it: see Commands")
    value, count = found
    is_bad = value > HIGH_RANDOMIZATION
    says = "the maps do not depend on what the model learned" if is_bad else "the maps depend on what the model learned"
    return Check(name, format_number(value), f"{says}; {count} images (Adebayo et al. 2018)", is_bad)


def _compared(rows: Sequence[MapRow], name: str, sign: int) -> Check | None:
    """Compare the area under a curve with that of a random order, image by image."""
    keys = (f"{name}_auc", f"random_{name}_auc")
    pairs = [[row.numbers[key] for key in keys] for row in rows if all(key in row.numbers for key in keys)]
    if not pairs:
        return None
    mean, random = (sum(pair[place] for pair in pairs) / len(pairs) for place in (0, 1))
    better = sum(sign * (own - other) > 0 for own, other in pairs)
    word = "lower" if sign < 0 else "higher"
    says = f"random order {format_number(random)}; {word}, as it should be, for {better} of {len(pairs)} images"
    return Check(f"{name} (area under the curve)", format_number(mean), says, sign * (mean - random) < 0)


def _mean(rows: Sequence[MapRow], name: str) -> tuple[float, int] | None:
    found: list[Any] = [row.numbers[name] for row in rows if name in row.numbers]
    return (sum(found) / len(found), len(found)) if found else None
