"""The saliency phase as a whole: real data modules, Lightning's Trainer, files in a run folder."""

import signal
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

from runner.errors import RunInterrupted
from runner.phases.explaining import explain
from runner.run_state import PhaseResult, Run
from runner.saliency.index_table import MEASURES
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
    """Where no truth is known there are no metrics about it, and without random masks none of quality."""
    run = make_run(tmp_path, Sample(saliency_checks=[]), TensorDataset(Images().images, Images().labels))
    metrics = explain(run).metrics
    unknown = {"peak_in_truth", "energy_in_truth", "quality", "deletion_auc", "insertion_auc", "repeatability"}
    assert not unknown & set(metrics)
    assert {"num_images", "num_flagged", "num_failed", "mean_strength", "num_masks"} <= set(metrics)


def test_metrics_are_means_over_the_table(tmp_path: Path) -> None:
    """What index.csv has of each image's main map is in the metrics as its mean, so that sweeps can optimise it."""
    run = make_run(tmp_path, Sample(saliency_method="rise"))
    metrics, rows = explain(run).metrics, rows_of(run)
    assert metrics["num_masks"] == 40
    for name in ("num_masks", "quality", *MEASURES):
        values = [float(row[name]) for row in rows if row[name]]
        assert metrics.get(name) == (pytest.approx(np.mean(values), rel=1e-4) if values else None), name
    maps = np.stack([each.maps[each.main].ravel() for each in SavedMaps(run.folder.saliency)])
    pairs = np.corrcoef(maps)[np.triu_indices(6, 1)]
    assert metrics["mean_pairwise_correlation"] == pytest.approx(pairs.mean(), abs=1e-5)


def test_fast_maps_say_how_well_they_agree(tmp_path: Path) -> None:
    """The metrics hold the measured agreement with exact maps where maps are fast, and only there."""
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_checks": []}
    metrics = explain(make_run(tmp_path / "a", Sample(saliency_precision="fast", **values))).metrics
    assert 0.99 < metrics["fast_agreement"] <= 1.000001
    assert "fast_agreement" not in explain(make_run(tmp_path / "b", Sample(**values))).metrics


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
                raise RunInterrupted(signal.SIGTERM)
            return super().get_saliency_scores(model, images)

    data = Images()
    with pytest.raises(RunInterrupted):
        explain(make_run(tmp_path, Dying(saliency_strategy="low_level", saliency_checks=[]), data))
    saved = SavedMaps(tmp_path / "saliency")
    assert [each.index for each in saved] == [0, 1]
    assert not list((tmp_path / "saliency" / "maps").glob(".*"))
    data.loaded.clear()
    run = make_run(tmp_path, Sample(saliency_strategy="low_level", saliency_checks=[]), data)
    explain(run)
    assert data.loaded == [2, 3, 4, 5]
    again = make_run(tmp_path / "again", Sample(saliency_strategy="low_level", saliency_checks=[]))
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
    values: dict[str, Any] = {"saliency_strategy": "low_level", "saliency_checks": []}
    run = make_run(tmp_path, Sample(**values), Loaders(lambda: DataLoader(Stream(), batch_size=4)))
    explain(run)
    before = files_of(run)
    for index in (0, 3):
        (run.folder.saliency / "maps" / f"{index:06d}.npz").unlink()
    counting = Counting(**values)
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


def test_settings_without_effect_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those that somebody chose, not the many that the record of a run repeats when it goes on."""
    run = make_run(tmp_path, Sample(saliency_method="none", saliency_num_masks=7))
    run.set_by = {"saliency_fill": "config.yaml:9", "saliency_num_masks": "config.yaml:10"}
    explain(run)
    assert caplog.messages == ["saliency_num_masks: set, but without effect: saliency_method is none"]


def test_skipped_without_data(tmp_path: Path) -> None:
    """Without a loader for the split, or with an empty one, the phase says so and goes on."""
    for data in (LightningDataModule(), Loaders(list), Loaders(lambda: None)):
        skipped = explain(make_run(tmp_path, Sample(), data)).skipped
        assert skipped is not None
        assert "test_dataloader" in skipped
    run = make_run(tmp_path, Sample())
    run.data = None
    assert "test_dataloader" in str(explain(run).skipped)


# --- files ------------------------------------------------------------------------------------------------------------


def test_many_images_in_a_file(tmp_path: Path) -> None:
    """Files of several images hold the maps of one file per image, and a restart with a higher limit extends them."""
    plain = make_run(tmp_path / "plain", Sample(saliency_method="rise"))
    explain(plain)
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_shard_size": 4}
    explain(make_run(tmp_path / "shards", Sample(**values, saliency_limit=2)))
    run = make_run(tmp_path / "shards", Sample(**values))
    explain(run)
    assert sorted(each.name for each in (tmp_path / "shards" / "saliency" / "maps").iterdir()) == [
        "000000-000003.npz",
        "000004-000007.npz",
    ]
    assert np.array_equal(maps_of(run), maps_of(plain))
    at_once = make_run(tmp_path / "at once", Sample(**values))
    explain(at_once)
    assert files_of(run) == files_of(at_once)


def test_half_precision(tmp_path: Path) -> None:
    """saliency_dtype=float16 makes smaller files whose maps differ by rounding only."""
    plain = make_run(tmp_path / "a", Sample(saliency_checks=[]))
    half = make_run(tmp_path / "b", Sample(saliency_checks=[], saliency_dtype="float16"))
    explain(plain)
    explain(half)
    assert 0 < np.abs(maps_of(half) - maps_of(plain)).max() < 1e-3
    sizes = [(run.folder.saliency / "maps" / "000003.npz").stat().st_size for run in (plain, half)]
    assert sizes[1] < 0.8 * sizes[0]


def overlays_of(run: Run) -> list[int]:
    return sorted(int(file.stem) for file in (run.folder.saliency / "overlays").iterdir())


@pytest.mark.parametrize(
    ("choice", "drawn"), [("all", [0, 1, 2, 3, 4, 5]), ("none", []), (2, [0, 1]), ([4, 1], [1, 4])]
)
def test_overlays_of_chosen_images(choice: Any, drawn: list[int], tmp_path: Path) -> None:
    """saliency_overlays says which images have a picture; the contact sheet is there in any case."""
    run = make_run(tmp_path, Sample(saliency_overlays=choice))
    explain(run)
    assert overlays_of(run) == drawn
    assert (run.folder.saliency / "contact_sheet.png").is_file()


def test_another_choice_of_overlays_keeps_the_maps(tmp_path: Path) -> None:
    """A restart with another choice makes no map again, draws what is chosen now and removes the other pictures."""
    explain(make_run(tmp_path, Sample(saliency_overlays=3)))
    data = Images()
    run = make_run(tmp_path, Sample(saliency_overlays=[5]), data)
    explain(run)
    assert data.loaded == []
    assert overlays_of(run) == [5]
