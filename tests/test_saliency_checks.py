"""Which measures reach an explanation, and that they tell good maps from bad ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.phases.explaining import explain
from runner.run_state import Run
from runner.saliency.explanation import Explanation
from runner.saliency.storage import SavedMaps
from tests.saliency_samples import ConvModel, RegionModel, Sample, make_run

ALL = ["deletion", "insertion", "randomization", "repeatability"]
CURVES = {"deletion_auc", "insertion_auc", "random_deletion_auc", "random_insertion_auc"}


def explained(path: Path, model: nn.Module | None = None, **values: Any) -> tuple[list[Explanation], dict[str, float]]:
    values = {"saliency_method": "rise", "saliency_num_masks": 200, "saliency_checks": ALL} | values
    run: Run = make_run(path, Sample(**values), model=model or RegionModel())  # type: ignore[arg-type]
    metrics = explain(run).metrics
    return list(SavedMaps(run.folder.saliency)), metrics


def test_all_measures_of_good_maps(tmp_path: Path) -> None:
    """Maps of a model that reads one region beat the random order, repeat, and do not look like the masks."""
    explanations, metrics = explained(tmp_path, saliency_targets=[1], saliency_num_masks=1500)
    bright = explanations[1::2]
    for each in bright:
        measures = {name: float(values[0]) for name, values in each.measures.items()}
        assert set(measures) == {"entropy", "mask_correlation", "repeatability", *CURVES}
        assert measures["deletion_auc"] < measures["random_deletion_auc"] - 0.2
        assert measures["insertion_auc"] > 0.9
        assert measures["repeatability"] > 0.9
        assert abs(measures["mask_correlation"]) < 0.6
        assert 0 < measures["entropy"] < 8
    for name in ("deletion_auc", "repeatability", "entropy", "mask_correlation"):
        assert metrics[name] == pytest.approx(
            np.mean([float(each.measures[name][0]) for each in explanations]), rel=1e-4
        )
    assert metrics["mean_pairwise_correlation"] > 0.5


def test_randomization_tells_models_apart(tmp_path: Path) -> None:
    """The maps of a network change with its weights; those of a model without any stay the same."""

    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, 4:8, 9:13].mean(dim=(1, 2, 3))[:, None] * torch.tensor([-4.0, 4.0])

    learned, _ = explained(tmp_path / "a", ConvModel(num_classes=2), saliency_num_masks=1000)
    assert np.mean([each.measures["randomization_correlation"][0] for each in learned]) < 0.6

    class Wrapped(RegionModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Fixed()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images)  # type: ignore[no-any-return]

    fixed, _ = explained(tmp_path / "b", Wrapped())
    assert not any("randomization_correlation" in each.measures for each in fixed), "there is nothing to randomise"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], set()),
        (["deletion"], {"deletion_auc", "random_deletion_auc"}),
        (["insertion"], {"insertion_auc", "random_insertion_auc"}),
        (["randomization"], {"randomization_correlation"}),
        (["repeatability"], {"repeatability"}),
    ],
)
def test_only_what_was_asked_for(chosen: list[str], expected: set[str], tmp_path: Path) -> None:
    """Measures that cost nothing are always there, the others when they are asked for, on the first images only."""
    model = ConvModel(num_classes=2)
    explanations, _ = explained(tmp_path, model, saliency_checks=chosen, saliency_checks_limit=4)
    assert [set(each.measures) - {"entropy", "mask_correlation"} for each in explanations] == [expected] * 4 + [
        set()
    ] * 2


def test_windows_have_no_random_masks(tmp_path: Path) -> None:
    """Sliding windows are the same for every seed, and their masks no artefact: these measures are left out."""
    [first, *_], _ = explained(
        tmp_path, ConvModel(num_classes=2), saliency_method="sliding_window", saliency_targets="all"
    )
    assert set(first.measures) == {"entropy", "randomization_correlation", *CURVES}
    assert first.main == 0
    assert np.isfinite(first.measures["deletion_auc"][0])
    assert np.isnan(first.measures["deletion_auc"][1]), "forward passes are spent on the main map only"
    assert np.isfinite(first.measures["entropy"]).any()


def test_flagged_maps_are_not_checked(tmp_path: Path) -> None:
    """Where a map points nowhere, there is nothing to check."""
    explanations, metrics = explained(tmp_path, RegionModel(steepness=0.0))
    for each in explanations:
        assert set(each.measures) == {"entropy", "mask_correlation"}
        assert np.isnan(each.measures["entropy"]).all()
    assert "entropy" not in metrics
    assert metrics["num_flagged"] == 6


def test_colors_have_no_fill_but_are_checked(tmp_path: Path) -> None:
    """MC-RISE has colours for a fill; its maps are checked with the mean colour of the image."""
    [first, *_], _ = explained(tmp_path, saliency_method="mc_rise", saliency_fill=[0.0, 0.0, 0.0])
    assert set(first.measures) >= CURVES
    assert all(np.isfinite(values).all() for values in first.measures.values())


def test_gradient_methods_are_checked_too(tmp_path: Path) -> None:
    """Captum's methods are compared with a model with random weights as well."""
    pytest.importorskip("captum")
    explanations, _ = explained(tmp_path, ConvModel(num_classes=2), saliency_method="integrated_gradients")
    for each in explanations:
        assert set(each.measures) == {"entropy", "randomization_correlation", *CURVES}
        assert 0 <= each.measures["randomization_correlation"][0] < 0.9
