"""What the maps of a data set say together."""

from typing import Any

import numpy as np
import pytest

from runner.saliency.explanation import Explanation
from runner.saliency.summary import Summary
from tests.saliency_samples import make_explanation


def metrics_of(*explanations: Explanation) -> dict[str, float]:
    summary = Summary()
    assert list(summary.watch(explanations)) == list(explanations)
    return summary.metrics()


def of_two(**values: Any) -> Explanation:
    """Return an image with two maps, of classes 0 and 1, of which the second is the main one."""
    maps = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8)).astype(np.float32)
    fields: dict[str, Any] = {"maps": maps, "targets": np.array([0, 1]), "flags": np.array(["ok", "ok"])}
    return make_explanation(**(fields | {"strength": np.array([0.1, 0.3], np.float32)} | values))


def test_means_are_over_main_maps() -> None:
    """Strength, quality and measures are those of each image's main map; masks are counted per image."""
    metrics = metrics_of(
        of_two(num_masks=100, quality=np.array([0.2, 0.9]), measures={"entropy": np.array([9.0, 1.0])}),
        of_two(num_masks=300, quality=np.array([0.2, 0.7]), measures={"entropy": np.array([9.0, 2.0])}),
    )
    wanted = {"mean_strength": 0.3, "num_masks": 200, "quality": 0.8, "entropy": 1.5}
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)
    assert (metrics["num_images"], metrics["num_flagged"]) == (2, 0)


def test_what_is_not_known_is_left_out() -> None:
    """A mean is over the images that have a number; where none has, there is no metric."""
    nan = {"entropy": np.full(2, np.nan), "deletion_auc": np.full(2, np.nan)}
    metrics = metrics_of(
        of_two(measures={"entropy": np.array([0.0, 4.0])}), of_two(measures=nan), of_two(quality=np.array([0.5, 0.25]))
    )
    assert metrics["entropy"] == 4
    assert metrics["quality"] == 0.25
    assert not {"deletion_auc", "peak_in_truth", "energy_in_truth"} & set(metrics)


def test_flagged_maps_count_as_flagged_only() -> None:
    """A flagged map adds nothing to the mean strength nor to the correlation, and misses the truth."""
    truth = np.ones((8, 8), dtype=bool)
    flagged = of_two(flags=np.array(["ok", "constant"]), truth=truth, maps=np.zeros((2, 8, 8), np.float32))
    metrics = metrics_of(of_two(truth=truth), flagged)
    wanted = {"num_flagged": 1, "mean_strength": 0.3, "peak_in_truth": 0.5, "energy_in_truth": 0.5}
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)
    assert "mean_pairwise_correlation" not in metrics


def test_the_pairwise_correlation_is_of_main_maps() -> None:
    """Maps that are alike for all images give 1, whatever the other maps of the images are."""
    assert metrics_of(of_two(), of_two())["mean_pairwise_correlation"] == pytest.approx(1)
    maps = np.random.default_rng(1).uniform(-1, 1, (3, 2, 8, 8)).astype(np.float32)
    wanted = np.asarray(np.corrcoef(maps[:, 1].reshape(3, -1)))[np.triu_indices(3, 1)].mean()
    found = metrics_of(*(of_two(maps=each) for each in maps))["mean_pairwise_correlation"]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_strengths_are_of_all_maps() -> None:
    """The scale of the pictures is taken from every map that is not flagged."""
    summary = Summary()
    summary.add(of_two())
    summary.add(of_two(flags=np.array(["not_finite", "ok"]), strength=np.array([np.nan, 0.5], np.float32)))
    assert summary.strengths == pytest.approx([0.1, 0.3, 0.5])


def test_no_images() -> None:
    """Without an image there are counts and nothing else."""
    assert metrics_of() == {"num_images": 0, "num_flagged": 0}
