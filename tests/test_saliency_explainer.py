"""What the explainer makes of batches, and what it says to a container that answers wrongly."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from runner.errors import RunFailedError
from runner.phases.explaining import explain
from runner.saliency.storage import SavedMaps
from tests.saliency_samples import Images, RegionModel, Sample, make_run, rows_of

# --- targets and scores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "expected"),
    [("predicted", ["0", "1"]), ("label", ["0", "1"]), ("all", ["0", "1", "0", "1"]), ([1], ["1", "1"])],
)
def test_targets(targets: Any, expected: list[str], tmp_path: Path) -> None:
    """saliency_targets says which classes have a map; each has a row in the table."""
    run = make_run(tmp_path, Sample(saliency_targets=targets, saliency_limit=2))
    explain(run)
    assert [row["target"] for row in rows_of(run)] == expected


def test_label_and_prediction_can_differ(tmp_path: Path) -> None:
    """With saliency_targets=label the map is of the label even where the model predicts something else."""
    data = Images(2)
    run = make_run(tmp_path, Sample(saliency_targets="label"), TensorDataset(data.images, 1 - data.labels))
    explain(run)
    assert [(row["label"], row["predicted"], row["target"]) for row in rows_of(run)] == [
        ("1", "0", "1"),
        ("0", "1", "0"),
    ]


@pytest.mark.parametrize(
    ("values", "dataset", "words"),
    [
        ({"saliency_targets": [0, 2]}, Images(), "saliency_targets=[0, 2]: there is no class 2"),
        ({"saliency_targets": "label"}, TensorDataset(Images().images), "get_saliency_labels gave none"),
        (
            {"saliency_targets": "label"},
            TensorDataset(Images().images, torch.full((6,), 9)),
            "saliency_targets=label: there is no class 9",
        ),
    ],
)
def test_targets_that_do_not_exist(values: dict[str, Any], dataset: Any, words: str, tmp_path: Path) -> None:
    """A class or a label that is not there is an error which names the parameter."""
    with pytest.raises(RunFailedError, match=re.escape(words)):
        explain(make_run(tmp_path, Sample(**values), dataset))


@pytest.mark.parametrize("targets", ["predicted", "label", "all", [0]])
def test_a_model_with_a_single_score(targets: Any, tmp_path: Path) -> None:
    """A sigmoid output has one map, of score 0; the prediction is 1 from one half on."""

    class Single(RegionModel):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, 1]

    run = make_run(tmp_path, Sample(saliency_targets=targets), model=Single())
    assert explain(run).metrics["peak_in_truth"] == 1
    assert [row["label"] + row["predicted"] + row["target"] for row in rows_of(run)] == ["000", "110"] * 3
    assert [each.scores.shape for each in SavedMaps(run.folder.saliency)] == [(1,)] * 6


@pytest.mark.parametrize("num_channels", [1, 3, 4])
def test_images_with_any_number_of_channels(num_channels: int, tmp_path: Path) -> None:
    """Grey, colour and other images go through the whole phase, pictures included."""
    run = make_run(tmp_path, Sample(saliency_fill="mean"), Images(num_channels=num_channels))
    assert explain(run).metrics["peak_in_truth"] == 1


@pytest.mark.parametrize("strategy", ["low_level", "high_level"])
@pytest.mark.parametrize(("value", "flag"), [(float("nan"), "not_finite"), (0.5, "constant")])
def test_images_without_a_map_are_flagged(
    strategy: str, value: float, flag: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NaN or unchanging scores of one image flag its map and warn; the other images are explained as always."""

    class Odd(Sample):
        def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
            scores = super().get_saliency_scores(model, images)
            odd = images[:, 0, :, 15].amax(dim=1) > 5
            return torch.where(odd[:, None], torch.tensor(value), scores)

    data = Images()
    data.images[3, :, :, 15] = 9  # no window of 4 hides all of this column
    run = make_run(tmp_path, Odd(saliency_strategy=strategy), data)
    metrics = explain(run).metrics
    assert (metrics["num_images"], metrics["num_flagged"]) == (6, 1)
    assert [row["flag"] for row in rows_of(run)] == ["ok", "ok", "ok", flag, "ok", "ok"]
    assert metrics["peak_in_truth"] == pytest.approx(2 / 3)
    assert np.isfinite(metrics["mean_strength"])
    saved = SavedMaps(run.folder.saliency)[3]
    assert not saved.maps.any()
    assert f"the map of image 3 for class {saved.targets[0]} is {flag.replace('_', ' ')}" in caplog.text


# --- wrong answers of the container -----------------------------------------------------------------------------------


class Wrong(Sample):
    answers: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def get_saliency_images(self, batch: Any) -> Any:
        return self.answers.get("images", super().get_saliency_images(batch))

    def get_saliency_labels(self, batch: Any) -> Any:
        return self.answers.get("labels", super().get_saliency_labels(batch))

    def get_saliency_truth(self, batch: Any) -> Any:
        return self.answers.get("truth", super().get_saliency_truth(batch))

    def get_saliency_scores(self, model: Any, images: Any) -> Any:
        return self.answers.get("scores", super().get_saliency_scores(model, images))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"images": None}, "get_saliency_images returned nothing, not a float tensor (B, C, H, W)"),
        ({"images": [1, 2]}, "get_saliency_images returned a list"),
        ({"images": torch.zeros(4, 16, 16)}, "get_saliency_images returned torch.float32 (4, 16, 16)"),
        ({"images": torch.zeros(4, 3, 16, 16, dtype=torch.uint8)}, "get_saliency_images returned torch.uint8"),
        ({"images": torch.zeros(0, 3, 16, 16)}, "get_saliency_images returned torch.float32 (0, 3, 16, 16)"),
        ({"images": torch.zeros(3, 3, 16, 16)}, "get_saliency_images returned 3 images for a batch of 4 items"),
        ({"images": torch.full((4, 3, 16, 16), torch.nan)}, "get_saliency_images: image 0"),
        ({"labels": torch.zeros(4, 2)}, "get_saliency_labels returned torch.float32 (4, 2)"),
        ({"truth": torch.zeros(4, 1, 16, 16)}, "get_saliency_truth returned torch.float32 (4, 1, 16, 16)"),
        ({"scores": torch.zeros(1)}, "get_saliency_scores returned torch.float32 (1,)"),
    ],
)
def test_wrong_answers_are_named(answers: dict[str, Any], words: str, tmp_path: Path) -> None:
    """What a method of the container returns wrongly is an error with its name and what came."""
    container = Wrong()
    container.answers = answers
    with pytest.raises(RunFailedError, match=re.escape(words)):
        explain(make_run(tmp_path, container))
