"""What the explainer makes of batches, and what it says to a container that answers wrongly."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from runner.errors import RunFailedError
from runner.phases.explaining import explain
from runner.saliency.storage import SavedMaps
from tests.saliency_samples import ConvModel, Images, Loaders, RegionModel, Sample, make_run, rows_of

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


@pytest.mark.parametrize("strategy", ["fused", "low_level", "high_level"])
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


# --- images that fail -------------------------------------------------------------------------------------------------


class Picky(Sample):
    """Cannot score images whose last pixel is as bright as those in ``refused``."""

    refused: tuple[float, ...] = ()

    def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
        for value in self.refused:
            if (images[:, 0, 0, 0] == value).any():
                raise KeyError(f"brightness {value}")
        return super().get_saliency_scores(model, images)


def marked_images(number: int = 6) -> Images:
    data = Images(number)
    data.images[:, 0, 0, 0] = torch.arange(number) + 100.0
    return data


@pytest.mark.parametrize("strategy", ["fused", "low_level"])
def test_a_failed_image_does_not_end_the_phase(strategy: str, tmp_path: Path) -> None:
    """One image whose scores raise is recorded with its error, and the others have the maps that they always have."""
    values: dict[str, Any] = {"saliency_strategy": strategy, "saliency_method": "rise", "saliency_checks": []}
    container = Picky(**values)
    container.refused = (102.0,)
    run = make_run(tmp_path / "a", container, marked_images())
    result = explain(run)
    assert result.failed is not None
    assert "1 image could not be explained: 2" in result.failed
    assert "brightness 102" in result.failed
    plain = make_run(tmp_path / "b", Picky(**values), marked_images())
    explain(plain)
    expected = {each.index: each for each in SavedMaps(plain.folder.saliency)}
    saved = list(SavedMaps(run.folder.saliency))
    assert [each.index for each in saved] == [0, 1, 3, 4, 5]
    for each in saved:
        assert np.array_equal(each.maps, expected[each.index].maps)


def test_images_that_are_not_finite_fail_alone(tmp_path: Path) -> None:
    """NaN in one image is a failed image."""
    data = Images()
    data.images[4, 0, 0, 0] = torch.nan
    result = explain(make_run(tmp_path, Sample(), data))
    assert result.failed is not None
    assert "4" in result.failed
    assert "not finite" in result.failed
    assert result.metrics["num_images"] == 5


def test_when_nothing_can_be_explained_the_error_comes_through(tmp_path: Path) -> None:
    """An error in every image is a bug in the container, shown as it is; one that names settings as well."""
    container = Picky()
    container.refused = tuple(100.0 + place for place in range(6))
    with pytest.raises(KeyError, match="brightness"):
        explain(make_run(tmp_path, container, marked_images()))


def test_an_image_without_targets_has_no_map(tmp_path: Path) -> None:
    """Where a detector finds nothing there is nothing to explain: no row, no failure, a picture all the same."""

    class Detector(Sample):
        def get_saliency_detections(self, model: Any, images: Tensor) -> list[Tensor]:
            found = torch.tensor([[9.0, 4.0, 12.0, 7.0, 1.0, 1.0, 0.0]])
            bright = images[:, :, 4:8, 9:13].mean(dim=(1, 2, 3))
            return [found * torch.tensor([1, 1, 1, 1, value, 1, 1]) if value > 0.5 else found[:0] for value in bright]

    run = make_run(tmp_path, Detector(saliency_method="drise", saliency_num_masks=60))
    result = explain(run)
    assert result.failed is None
    assert [row["index"] for row in rows_of(run)] == ["1", "3", "5"]
    assert result.metrics["num_images"] == 6
    assert result.metrics["peak_in_truth"] == 1
    assert len(list((run.folder.saliency / "overlays").glob("*.png"))) == 6


def test_a_blank_or_corrupt_beginning_does_not_end_the_phase(tmp_path: Path) -> None:
    """When a whole first batch fails, those after it are explained all the same."""
    data = Images(12)
    data.images[:5] = torch.nan
    result = explain(make_run(tmp_path, Sample(), data))
    assert (result.metrics["num_images"], result.metrics["num_failed"]) == (7, 5)


def test_a_label_that_is_no_class_fails_its_image(tmp_path: Path) -> None:
    """With targets=label, an image whose label is unknown or no class is a failed image."""
    data = Images()
    data.labels[2], data.labels[5] = -1, 7
    result = explain(make_run(tmp_path, Sample(saliency_targets="label"), data))
    assert result.failed is not None
    assert "2, 5" in result.failed
    assert result.metrics["num_images"] == 4


def test_an_interrupted_stream_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """How many images share a forward pass is told by the loader, not by how many are missing."""

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return (Images()[place] for place in range(6))

    values: dict[str, Any] = {"saliency_method": "rise", "saliency_batch_size": 256, "saliency_checks": []}
    run = make_run(tmp_path, Sample(**values), Loaders(lambda: DataLoader(Stream(), batch_size=6)), ConvModel())
    explain(run)
    before = {file.name: file.read_bytes() for file in (run.folder.saliency / "maps").iterdir()}
    for index in range(5):
        (run.folder.saliency / "maps" / f"{index:06d}.npz").unlink()
    explain(run)
    assert {file.name: file.read_bytes() for file in (run.folder.saliency / "maps").iterdir()} == before
