"""Whether the report warns of maps that say nothing of the image or of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from runner.reports.chosen_maps import MapRow
from runner.reports.map_checks import Check, map_checks


def rows(*found: dict[str, float]) -> list[MapRow]:
    return [
        MapRow(index, "maps/000000.npz", 1, 1, 0.9, 1, 0.2, "ok", True, numbers) for index, numbers in enumerate(found)
    ]


def check(name: str, found: Sequence[MapRow] = (), metrics: dict[str, float] | None = None) -> Check:
    """Return the check whose name begins with *name*."""
    [only] = [each for each in map_checks(found, metrics or {}, math.nan) if each.name.startswith(name)]
    return only


@pytest.mark.parametrize(("value", "is_bad"), [(0.5, False), (0.51, True), (-0.9, False), (1.0, True)])
def test_maps_that_are_all_alike(value: float, is_bad: bool) -> None:
    """Above one half they show the method or the data set."""
    found = check("correlation of the maps with one another", metrics={"mean_pairwise_correlation": value})
    assert found.is_bad is is_bad
    assert ("hardly depend on the image" in found.says) is is_bad


def test_maps_that_are_shown_stand_in_for_all() -> None:
    """Where the phase did not come to its end, and that is said; of one map nothing is known."""
    [found, *_] = map_checks([], {}, 0.7)
    assert found.is_bad
    assert found.says.endswith("those that are shown")
    [nothing, *_] = map_checks([], {}, math.nan)
    assert (nothing.value, nothing.is_bad) == ("not known", False)


def test_maps_that_are_like_the_mean_mask() -> None:
    """A correlation below zero is as bad as one above it."""
    found = check("correlation with the mean mask", rows({"mask_correlation": -0.8}, {"mask_correlation": 0.4}, {}))
    assert found.is_bad
    assert found.value == "0.6"
    assert "1 of 2 maps are above 0.5" in found.says
    assert not check("correlation with the mean mask", rows({"mask_correlation": 0.5})).is_bad
    assert check("correlation with the mean mask", rows({})).value == "not measured"


@pytest.mark.parametrize(("value", "is_bad"), [(0.6, False), (0.61, True)])
def test_maps_that_a_random_model_has_as_well(value: float, is_bad: bool) -> None:
    """They do not depend on what was learned; where it was not measured it is said how to."""
    found = check("correlation with the maps of a random model", rows({"randomization_correlation": value}))
    assert found.is_bad is is_bad
    assert ("do not depend on what the model learned" in found.says) is is_bad
    assert "--saliency_checks=randomization" in check("correlation with the maps of a random model").says


@pytest.mark.parametrize(("name", "good", "bad"), [("deletion", 0.1, 0.5), ("insertion", 0.5, 0.1)])
def test_maps_that_are_no_better_than_chance(name: str, good: float, bad: float) -> None:
    """Compared image by image with a random order; images without both numbers do not count."""
    keys = (f"{name}_auc", f"random_{name}_auc")
    found = check(name, rows(*[dict(zip(keys, (good, 0.3), strict=True))] * 3, {keys[0]: 9.0}))
    assert not found.is_bad
    assert "for 3 of 3 images" in found.says
    found = check(name, rows(dict(zip(keys, (bad, 0.3), strict=True))))
    assert found.is_bad
    assert "for 0 of 1 images" in found.says
    assert not [each for each in map_checks(rows({}), {}, 0.1) if each.name.startswith(name)]


def test_maps_that_another_seed_does_not_repeat() -> None:
    """The mean over the images where it was measured."""
    found = check("repeatability", rows({"repeatability": 0.2}, {"repeatability": 0.4}, {}))
    assert (found.value, found.is_bad) == ("0.3", True)
    assert not check("repeatability", rows({"repeatability": 0.9})).is_bad
