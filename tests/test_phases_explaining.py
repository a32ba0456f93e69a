"""The saliency phase as a whole: real data modules, Lightning's Trainer, files in a run folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from runner.phases import explaining
from runner.phases.explaining import explain
from runner.run_state import PhaseResult, Run
from runner.saliency.storage import SavedMaps
from tests.saliency_samples import REGION, ConvModel, Images, Loaders, RegionModel, Sample, make_run, rows_of


def files_of(run: Run) -> dict[str, bytes]:
    folder = run.folder.saliency
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def maps_of(run: Run) -> np.ndarray[Any, Any]:
    return np.stack([each.maps for each in SavedMaps(run.folder.saliency)])


# --- the answer is known ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rise", "sliding_window", "random_grid", "sliding_radial", "mc_rise"])
@pytest.mark.parametrize("strategy", ["low_level", "high_level"])
def test_maps_point_at_what_the_model_reads(method: str, strategy: str, tmp_path: Path) -> None:
    """For a model that reads one region only, every method's map peaks there, and most of it lies there or close."""
    fill = [0.0, 0.0, 0.0] if method == "mc_rise" else "zero"
    container = Sample(
        saliency_method=method, saliency_strategy=strategy, saliency_fill=fill, saliency_num_masks=120,
        saliency_window_size=3,
    )  # fmt: skip
    run = make_run(tmp_path, container)
    metrics = explain(run).metrics
    assert metrics["num_images"] == 6
    assert metrics["num_flagged"] == 0
    assert metrics["peak_in_truth"] == 1
    assert metrics["energy_in_truth"] > 3 * 16 / 256
    for explanation in list(SavedMaps(run.folder.saliency))[1::2]:
        assert explanation.predicted == 1
        peak = explanation.peak(0)
        assert peak is not None
        assert REGION[0].start <= peak[0] < REGION[0].stop
        assert REGION[1].start <= peak[1] < REGION[1].stop


def test_files_and_result(tmp_path: Path) -> None:
    """The phase leaves maps, overlays, table and contact sheet, and says in the result what was done."""
    run = make_run(tmp_path, Sample())
    result = explain(run)
    names = [f"{index:06d}" for index in range(6)]
    assert sorted(files_of(run)) == [
        "contact_sheet.png",
        "index.csv",
        *(f"maps/{name}.npz" for name in names),
        *(f"overlays/{name}.png" for name in names),
        "settings.json",
    ]
    assert [row["label"] + row["predicted"] + row["target"] for row in rows_of(run)] == ["000", "111"] * 3
    strengths = [float(row["strength"]) for row in rows_of(run)]
    assert result.metrics["mean_strength"] == pytest.approx(np.mean(strengths), rel=1e-4)
    assert result.details["method"] == "sliding window 4 px, stride 2"
    for file in run.folder.saliency.rglob("*.png"):
        with Image.open(file) as picture:
            assert min(picture.size) > 190


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    """The model explains in evaluation mode without gradients, and is in training mode with its weights afterwards."""

    class Watching(RegionModel):
        seen: set[tuple[bool, bool]] = set()  # noqa: RUF012 - shared on purpose

        def forward(self, images: Tensor) -> Tensor:
            self.seen.add((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    model = Watching().train()
    explain(make_run(tmp_path, Sample(), model=model))
    assert model.seen == {(False, False)}
    assert model.training
    assert model.steepness.item() == 8
    assert model.steepness.requires_grad


def test_metrics_without_truth(tmp_path: Path) -> None:
    """Where no truth is known there are no metrics about it."""
    run = make_run(tmp_path, Sample(), TensorDataset(Images().images, Images().labels))
    assert set(explain(run).metrics) == {"num_images", "num_flagged", "mean_strength"}


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_a_restart_makes_only_what_is_missing(tmp_path: Path) -> None:
    """After some files are lost or damaged, a restart loads only their images and ends with the same bytes."""
    data = Images()
    run = make_run(tmp_path, Sample(saliency_method="rise"), data, ConvModel(num_classes=2))
    explain(run)
    before = files_of(run)
    data.loaded.clear()
    for name in ("maps/000001.npz", "maps/000004.npz", "index.csv", "overlays/000002.png", "contact_sheet.png"):
        (run.folder.saliency / name).unlink()
    damaged = run.folder.saliency / "maps" / "000002.npz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    explain(run)
    assert data.loaded == [1, 2, 4]
    assert files_of(run) == before


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    """When the phase dies in the third image, two are on disk, whole, and the restart goes on with the third."""

    class Dying(Sample):
        calls = 0

        def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 13:
                raise KeyError("the power went out")
            return super().get_saliency_scores(model, images)

    data = Images()
    with pytest.raises(KeyError, match="the power went out"):
        explain(make_run(tmp_path, Dying(), data))
    saved = SavedMaps(tmp_path / "saliency")
    assert [each.index for each in saved] == [0, 1]
    assert not list((tmp_path / "saliency" / "maps").glob(".*"))
    data.loaded.clear()
    run = make_run(tmp_path, Sample(), data)
    explain(run)
    assert data.loaded == [2, 3, 4, 5]
    again = make_run(tmp_path / "again", Sample())
    explain(again)
    assert files_of(run) == files_of(again)


def test_a_finished_phase_predicts_nothing_again(tmp_path: Path) -> None:
    """With all maps there, a restart runs the model not once and draws the same pictures."""
    run = make_run(tmp_path, Sample())
    first = explain(run)
    before = files_of(run)

    def refuse(images: Tensor) -> Tensor:
        raise AssertionError("the model ran")

    run.model.forward = refuse  # type: ignore[method-assign]
    assert explain(run) == first
    assert files_of(run) == before


def test_new_weights_make_new_maps(tmp_path: Path) -> None:
    """Maps of other weights, as after training on, are not kept."""
    run = make_run(tmp_path, Sample(), model=ConvModel())
    explain(run)
    old = maps_of(run)
    for parameter in run.model.parameters():
        parameter.data.neg_()
    explain(run)
    assert not np.array_equal(maps_of(run), old)


# --- data of all kinds ------------------------------------------------------------------------------------------------


class Stream(IterableDataset[Any]):
    """The items of Images without places."""

    def __iter__(self) -> Iterator[Any]:
        return (Images()[index] for index in range(len(Images())))


class Batches:
    """Neither a DataLoader nor a list: something that yields batches."""

    def __iter__(self) -> Iterator[Any]:
        return iter(DataLoader(Images(), batch_size=2))


def collate(items: list[Any]) -> dict[str, Any]:
    images, labels, truth = zip(*items, strict=True)
    return {"image": torch.stack(images), "label": torch.stack(labels), "lesion": torch.stack(truth), "name": "x"}


class OfDicts(Sample):
    def get_saliency_truth(self, batch: Any) -> Tensor | None:
        truth: Tensor = batch["lesion"]
        return truth


@pytest.mark.parametrize(
    ("container", "loaders"),
    [
        (OfDicts(), lambda: DataLoader(Images(), batch_size=3, collate_fn=collate, shuffle=True)),
        (Sample(), lambda: DataLoader(Stream(), batch_size=4)),
        (Sample(), lambda: DataLoader(Images(), batch_size=4, num_workers=1)),
        (Sample(), Batches),
    ],
    ids=["dicts", "iterable dataset", "workers", "any iterable"],
)
def test_any_loader_gives_the_same_maps(container: Sample, loaders: Any, tmp_path: Path) -> None:
    """Dict batches, an IterableDataset, workers and other iterables give the maps that a plain loader gives."""
    run, plain = make_run(tmp_path / "a", container, Loaders(loaders)), make_run(tmp_path / "b", Sample())
    assert explain(run).metrics == explain(plain).metrics
    assert np.array_equal(maps_of(run), maps_of(plain))
    assert rows_of(run) == rows_of(plain)


class Counting(Sample):
    num_calls = 0

    def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
        self.num_calls += 1
        return super().get_saliency_scores(model, images)


def test_an_iterable_dataset_goes_on_after_an_interruption(tmp_path: Path) -> None:
    """A stream is read again from its start, and only missing images are explained."""
    run = make_run(tmp_path, Sample(), Loaders(lambda: DataLoader(Stream(), batch_size=4)))
    explain(run)
    before = files_of(run)
    for index in (0, 3):
        (run.folder.saliency / "maps" / f"{index:06d}.npz").unlink()
    counting = Counting()
    run.container = counting
    explain(run)
    assert files_of(run) == before
    assert counting.num_calls == 2 * (1 + 1 + 4)  # the image alone twice, its 64 perturbed copies in batches of 16


def test_several_loaders_are_explained_one_after_the_other(tmp_path: Path) -> None:
    """A data module may return a list of loaders; the numbers go on from one to the next."""
    loaders = Loaders(lambda: [DataLoader(Images(2), batch_size=2), DataLoader(Images(3), batch_size=2)])
    run = make_run(tmp_path, Sample(), loaders)
    assert explain(run).metrics["num_images"] == 5
    assert [row["index"] for row in rows_of(run)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("split", "stage"), [("train", "fit"), ("val", "fit"), ("test", "test")])
def test_the_split_is_set_up_as_lightning_would(split: str, stage: str, tmp_path: Path) -> None:
    """The data module is set up for the split before its loader is asked for."""
    loaders = Loaders(lambda: DataLoader(Images(2)))
    result = explain(make_run(tmp_path, Sample(saliency_split=split), loaders))
    assert loaders.stages == [stage]
    assert result.details["split"] == split


def test_hooks_for_batches_run_as_in_training(tmp_path: Path) -> None:
    """What a data module or a model does to batches after the transfer is done to those explained too."""

    class Bright(Loaders):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] + 1, *batch[1:]]

    class BrightModel(RegionModel):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] + 2, *batch[1:]]

    def mean_of(path: Path, loaders: type[Loaders], model: LightningModule) -> float:
        run = make_run(path, Sample(saliency_limit=1), loaders(lambda: DataLoader(Images())), model)
        explain(run)
        return float(SavedMaps(run.folder.saliency)[0].image.mean())

    plain = mean_of(tmp_path / "a", Loaders, RegionModel())
    assert mean_of(tmp_path / "b", Bright, RegionModel()) == pytest.approx(plain + 1)
    assert mean_of(tmp_path / "c", Loaders, BrightModel()) == pytest.approx(plain + 2)
    assert mean_of(tmp_path / "d", Bright, BrightModel()) == pytest.approx(plain + 1)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"saliency_limit": 3}, 3), ({"limit_predict_batches": 1}, 4), ({"limit_predict_batches": 0.5}, 4)],
)
def test_limits(limits: dict[str, Any], expected: int, tmp_path: Path) -> None:
    """saliency_limit counts images, limit_predict_batches batches; both hold over a restart."""
    run = make_run(tmp_path, Sample(**limits))
    assert explain(run).metrics["num_images"] == expected
    (run.folder.saliency / "maps" / "000000.npz").unlink()
    assert explain(run).metrics["num_images"] == expected


def test_data_in_the_model_without_a_data_module(tmp_path: Path) -> None:
    """Where there is no data module, the model's own loader is used."""

    class WithData(RegionModel):
        def test_dataloader(self) -> Any:
            return DataLoader(Images(3))

    run = make_run(tmp_path, Sample(), model=WithData())
    run.data = None
    assert explain(run).metrics["num_images"] == 3


# --- nothing to do ----------------------------------------------------------------------------------------------------


def test_skipped_without_a_method(tmp_path: Path) -> None:
    """saliency_method=none does nothing and makes no folder."""
    run = make_run(tmp_path, Sample(saliency_method="none"))
    assert explain(run) == PhaseResult(skipped="saliency_method is none")
    assert not run.folder.saliency.exists()


def test_skipped_without_data(tmp_path: Path) -> None:
    """Without a loader for the split, or with an empty one, the phase says so and goes on."""
    for data in (LightningDataModule(), Loaders(list), Loaders(lambda: None)):
        skipped = explain(make_run(tmp_path, Sample(), data)).skipped
        assert skipped is not None
        assert "test_dataloader" in skipped
    run = make_run(tmp_path, Sample())
    run.data = None
    assert "test_dataloader" in str(explain(run).skipped)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines say how many of how many are done, how fast, and how long it will take; the last one how long it took."""
    caplog.set_level("INFO", logger=explaining.__name__)
    run = make_run(tmp_path, Sample(saliency_method="rise"))
    explain(run)
    lines = [record.getMessage() for record in caplog.records if record.name == explaining.__name__]
    assert len(lines) == 1
    assert re.fullmatch(r"saliency 6/6  RISE 40 masks  [\d.]+ images/s  [\d.]+ s", lines[0])
    caplog.clear()
    monkeypatch.setattr(explaining, "SECONDS_BETWEEN_LINES", 0.0)
    for index in (1, 2):
        (run.folder.saliency / "maps" / f"{index:06d}.npz").unlink()
    explain(run)
    lines = [record.getMessage() for record in caplog.records if record.name == explaining.__name__]
    assert re.fullmatch(r"saliency 5/6  RISE 40 masks  [\d.]+ images/s  [\d.]+ s left", lines[0])
    assert len(lines) == 3
