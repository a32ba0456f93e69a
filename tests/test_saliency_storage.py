"""The saliency folder: files that are whole or not there, the table, and what is kept of an earlier attempt."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from runner.saliency.explanation import Explanation, scaled_maps
from runner.saliency.index_table import MEASURES
from runner.saliency.settings import map_settings, weights_digest
from runner.saliency.storage import SaliencyFolder, SavedMaps
from tests.saliency_samples import ConvModel, RegionModel, Sample, make_explanation

SETTINGS = {"saliency_method": "rise", "saliency_seed": 0}
TRUTH = np.zeros((8, 8), dtype=bool)
TRUTH[1:4, 2:5] = True


MEASURED: dict[str, Any] = {"entropy": np.array([1.5], np.float32), "deletion_auc": np.array([np.nan], np.float32)}


def read(folder: SaliencyFolder, index: int) -> Explanation:
    saved = SavedMaps(folder.path)
    return saved[saved.indices.index(index)]


@pytest.fixture
def folder(tmp_path: Path) -> SaliencyFolder:
    made = SaliencyFolder(tmp_path / "saliency")
    assert made.open(SETTINGS) == set()
    return made


def test_everything_comes_back(folder: SaliencyFolder) -> None:
    """What was written is read again with the same values and types, optional fields included."""
    color_maps = np.zeros((2, 1, 8, 8), dtype=np.float32)
    full = make_explanation(
        12, truth=TRUTH, color_maps=color_maps, color_strength=np.ones((2, 1), np.float32), num_masks=64,
        quality=np.array([0.9], np.float32), measures=MEASURED,
    )  # fmt: skip
    for explanation in (make_explanation(3), full):
        folder.write(explanation)
        assert_same(read(folder, explanation.index), explanation)


def assert_same(again: Explanation, explanation: Explanation) -> None:
    assert again.measures.keys() == explanation.measures.keys()
    for name, value in (vars(explanation) | dict(explanation.measures)).items():
        found = (vars(again) | dict(again.measures))[name]
        assert type(found) is type(value), name
        if name != "measures":
            assert np.array_equal(found, value, equal_nan=name in MEASURED), name
        if isinstance(value, np.ndarray):
            assert (found.dtype, found.shape) == (value.dtype, value.shape), name


def test_a_volume_comes_back(folder: SaliencyFolder) -> None:
    """Three dimensions of space are stored as two are; the peak says slice, row and column."""
    maps = np.zeros((1, 4, 8, 8), np.float32)
    maps[0, 3, 2, 5] = 1
    volume = make_explanation(0, image=np.ones((2, 4, 8, 8), np.float32), maps=maps, truth=np.ones((4, 8, 8), bool))
    folder.write(volume)
    assert_same(read(folder, 0), volume)
    assert read(folder, 0).peak(0) == (3, 2, 5)
    [row] = rows_of(folder, volume)
    assert [row["peak_slice"], row["peak_row"], row["peak_col"], row["peak_in_truth"]] == ["3", "2", "5", "1"]


def test_a_file_is_plain_numpy(folder: SaliencyFolder) -> None:
    """numpy alone reads a file, without pickles; its names and types are the documented ones."""
    folder.write(make_explanation(12))
    with np.load(folder.path / "maps" / "000012.npz", allow_pickle=False) as file:
        types = {name: str(file[name].dtype) for name in file.files}
    assert types == {
        "index": "int64",
        "image": "float32",
        "maps": "float32",
        "strength": "float32",
        "flags": "<U2",
        "targets": "int64",
        "scores": "float32",
        "label": "int64",
        "num_masks": "int64",
    }


def test_a_file_is_what_numpy_writes(folder: SaliencyFolder) -> None:
    """The bytes are those of savez_compressed, names with a slash among them."""
    explanation = make_explanation(12, measures=MEASURED)
    folder.write(explanation)
    values = {name: value for name, value in vars(explanation).items() if value is not None and name != "measures"}
    theirs = folder.path / "theirs.npz"
    np.savez_compressed(theirs, **values, **{f"measures/{name}": MEASURED[name] for name in sorted(MEASURED)})
    assert folder.map_file(12).read_bytes() == theirs.read_bytes()
    with np.load(folder.map_file(12)) as file:
        assert file["measures/entropy"] == 1.5


def test_half_precision_halves_the_files(tmp_path: Path) -> None:
    """With float16, image and maps are stored so and read as float32; other fields, and what overflows, stay."""
    folder = SaliencyFolder(tmp_path, dtype="float16")
    folder.open(SETTINGS)
    bright = np.full((3, 8, 8), 1e6, np.float32)
    for explanation in (make_explanation(1), make_explanation(2, image=bright)):
        folder.write(explanation)
        again = read(folder, explanation.index)
        assert again.maps.dtype == again.image.dtype == np.float32
        assert np.array_equal(again.maps, explanation.maps.astype(np.float16).astype(np.float32))
        assert np.array_equal(again.strength, explanation.strength)
    assert np.array_equal(read(folder, 2).image, bright)
    with np.load(folder.map_file(1)) as file:
        types = {name: str(file[name].dtype) for name in ("image", "maps", "strength", "scores")}
    assert types == {"image": "float16", "maps": "float16", "strength": "float32", "scores": "float32"}


def test_the_same_explanation_has_the_same_bytes(folder: SaliencyFolder) -> None:
    """A file depends on nothing but what is in it."""
    folder.write(make_explanation(1))
    first = folder.map_file(1).read_bytes()
    folder.write(make_explanation(1))
    assert folder.map_file(1).read_bytes() == first


def test_a_write_that_fails_leaves_nothing(folder: SaliencyFolder) -> None:
    """When writing breaks off, neither the file nor a temporary one is there."""
    with pytest.raises(ValueError, match="inhomogeneous"):
        folder.write(make_explanation(1, maps=[np.zeros(1), np.zeros((2, 3))]))
    assert list(folder.maps.iterdir()) == []


def test_nothing_is_pickled(folder: SaliencyFolder) -> None:
    """Arrays of objects are refused, and leave nothing."""
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        folder.write(make_explanation(1, flags=np.array(["ok"], dtype=object)))
    assert list(folder.maps.iterdir()) == []


def test_files_of_others_are_left_alone(folder: SaliencyFolder) -> None:
    """Whatever does not have the name of an image."""
    folder.write(make_explanation(1))
    for name in ("notes.npz", "1a.npz", "1-.npz", "mine.part"):
        (folder.maps / name).write_bytes(b"no maps")
    assert folder.open(SETTINGS) == {1}
    assert SavedMaps(folder.path).indices.tolist() == [1]
    assert len(list(folder.maps.iterdir())) == 5


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other", "renamed"])
def test_damaged_files_are_made_anew(folder: SaliencyFolder, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is not whole does not count as done, is removed, and the log says so."""
    for index in (1, 2):
        folder.write(make_explanation(index))
    file = folder.map_file(1)
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    file.write_bytes({"truncated": bytes(content[:-30]), "empty": b""}.get(damage, bytes(content)))
    if damage == "other":
        np.savez(file, index=1, label=2)
    if damage == "renamed":
        file.rename(folder.map_file(7))
    assert folder.open(SETTINGS) == {2}
    assert [each.name for each in folder.maps.iterdir()] == ["000002.npz"]
    assert "is damaged and made anew" in caplog.text


def test_other_settings_make_all_maps_anew(folder: SaliencyFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Maps of another seed are removed, their pictures too, and the log says what changed."""
    caplog.set_level("INFO")
    folder.write(make_explanation(1))
    folder.overlay_file(1).write_bytes(b"picture")
    assert folder.open(SETTINGS) == {1}
    assert folder.open(SETTINGS | {"saliency_seed": 1}) == set()
    assert not list(folder.path.rglob("*.npz")) + list(folder.path.rglob("*.png"))
    assert "saliency_seed changed" in caplog.text


@pytest.mark.parametrize("values", [{"shard_size": 4}, {"dtype": "float16"}])
def test_another_layout_makes_all_maps_anew(folder: SaliencyFolder, values: dict[str, Any]) -> None:
    """Files of another size or precision are never mixed with those of an earlier attempt."""
    folder.write(make_explanation(1))
    folder.write_failure(2, ValueError("corrupt"))
    other = SaliencyFolder(folder.path, **values)
    assert other.open(SETTINGS) == set()
    assert [file.name for file in folder.path.rglob("*") if file.is_file()] == ["settings.json"]


def test_settings_tell_weights_and_parameters_apart() -> None:
    """Another weight or seed changes the settings; batch size, limit and strategy do not."""
    model = ConvModel()
    settings = map_settings(Sample(), model)
    faster = Sample(saliency_batch_size=3, saliency_limit=2, saliency_strategy="high_level")
    assert map_settings(faster, model) == settings
    assert map_settings(Sample(saliency_seed=1), model) != settings
    with torch.no_grad():
        cast(torch.Tensor, model.network[1].running_mean).add_(1e-6)
    assert map_settings(Sample(), model)["weights"] != settings["weights"]
    assert weights_digest(RegionModel().bfloat16()) != weights_digest(RegionModel())


def test_saved_maps_are_in_the_order_of_the_data_set(folder: SaliencyFolder) -> None:
    """SavedMaps is a sequence by index of the image; each is read when it is asked for."""
    for index in (1_000_002, 5, 11):
        folder.write(make_explanation(index))
    (folder.maps / ".000001.npz.123.tmp").write_bytes(b"")
    saved = SavedMaps(folder.path)
    assert [each.index for each in saved] == [5, 11, 1_000_002]
    assert (len(saved), saved[-1].index, [each.index for each in saved[:2]]) == (3, 1_000_002, [5, 11])
    with pytest.raises(IndexError):
        saved[3]
    folder.map_file(5).unlink()
    with pytest.raises(OSError, match="000005"):
        saved[0]
    assert saved.indices.tolist() == [5, 11, 1_000_002]
    assert len(SavedMaps(folder.path / "nowhere")) == 0


def rows_of(folder: SaliencyFolder, *explanations: Explanation) -> list[dict[str, str]]:
    folder.write_index(explanations)
    with folder.index.open(newline="") as file:
        return list(csv.DictReader(file))


def test_index_has_a_row_per_map(folder: SaliencyFolder) -> None:
    """The table says for each map where it is, what it is about and how it stands to the truth."""
    [row] = rows_of(folder, make_explanation(12, truth=TRUTH))
    energy = float(row.pop("energy_in_truth"))
    assert row == {
        "index": "12",
        "file": "maps/000012.npz",
        "label": "1",
        "predicted": "1",
        "score": "0.75",
        "target": "1",
        "strength": "0.25",
        "flag": "ok",
        "peak_row": "2",
        "peak_col": "3",
        "peak_slice": "",
        "peak_in_truth": "1",
        "num_masks": "0",
        "quality": "",
        **dict.fromkeys(MEASURES, ""),
    }
    positive = np.clip(make_explanation(12).maps[0], 0, None)
    assert energy == pytest.approx(positive[1:4, 2:5].sum() / positive.sum(), rel=1e-4)


def test_index_leaves_open_what_is_not_known(folder: SaliencyFolder) -> None:
    """Without label and truth, and with an empty truth, the cells are empty."""
    empty = np.zeros((8, 8), dtype=bool)
    rows = rows_of(
        folder, make_explanation(1, label=-1), make_explanation(2, truth=empty), make_explanation(3, label=0)
    )
    assert [row["label"] for row in rows] == ["", "1", "0"]
    assert [row["peak_in_truth"] + row["energy_in_truth"] for row in rows] == ["", "", ""]
    assert folder.index.read_bytes().count(b"\n") == 4
    assert b"\r" not in folder.index.read_bytes()


def test_index_has_what_was_measured(folder: SaliencyFolder) -> None:
    """Masks, quality and measures have columns in a fixed order; what does not apply to a map is empty."""
    [row] = rows_of(folder, make_explanation(num_masks=64, quality=np.array([0.987654321]), measures=MEASURED))
    assert ",".join(row) == (
        "index,file,label,predicted,score,target,strength,flag,peak_row,peak_col,peak_slice,peak_in_truth,"
        "energy_in_truth,num_masks,quality,entropy,mask_correlation,deletion_auc,insertion_auc,random_deletion_auc,"
        "random_insertion_auc,randomization_correlation,repeatability"
    )
    assert (row["num_masks"], row["quality"], row["entropy"], row["deletion_auc"]) == ("64", "0.987654", "1.5", "")


def test_index_names_the_file_of_many_images(tmp_path: Path) -> None:
    """With several images in a file, all their rows name it."""
    folder = SaliencyFolder(tmp_path, shard_size=8)
    folder.open(SETTINGS)
    assert [row["file"] for row in rows_of(folder, make_explanation(1), make_explanation(12))] == [
        "maps/000000-000007.npz",
        "maps/000008-000015.npz",
    ]


def test_an_index_that_breaks_off_leaves_the_old_one(folder: SaliencyFolder) -> None:
    """When reading the images fails half way, the table of before stays."""
    rows_of(folder, make_explanation(1))
    before = folder.index.read_bytes()

    def broken() -> Iterator[Explanation]:
        yield make_explanation(2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        folder.write_index(broken())
    assert folder.index.read_bytes() == before


def flagged(value: float) -> dict[str, Any]:
    return dict(zip(("maps", "strength", "flags"), scaled_maps(np.full((1, 8, 8), value)), strict=True))


@pytest.mark.parametrize(("value", "flag", "strength"), [(np.nan, "not_finite", "nan"), (0.0, "constant", "0")])
def test_flagged_maps_point_nowhere(folder: SaliencyFolder, value: float, flag: str, strength: str) -> None:
    """A flagged map has no peak and counts as a miss where the truth is known."""
    [row] = rows_of(folder, make_explanation(1, truth=TRUTH, **flagged(value)))
    assert (row["flag"], row["strength"], row["peak_row"], row["peak_col"]) == (flag, strength, "", "")
    assert (row["peak_in_truth"], row["energy_in_truth"]) == ("0", "0")


@pytest.mark.parametrize(("score", "label", "correct"), [(0.7, 1, True), (0.7, 0, False), (0.3, 0, True)])
def test_a_single_score_predicts_by_one_half(score: float, label: int, correct: bool) -> None:
    """With one score, the prediction is 1 from 0.5 on."""
    explanation = make_explanation(scores=np.array([score], np.float32), targets=np.array([0]), label=label)
    assert explanation.is_correct is correct
    assert explanation.predicted_score == pytest.approx(score)
    assert explanation.main == 0


def test_the_main_map_is_of_the_label_then_of_the_prediction() -> None:
    """Among several targets the label's map speaks for the image, else that of the prediction, else the first."""
    scores = np.array([0.1, 0.2, 0.7], np.float32)
    for targets, label, main in (([0, 1, 2], 1, 1), ([0, 2], 1, 1), ([0, 2], -1, 1), ([0], 1, 0)):
        assert make_explanation(scores=scores, targets=np.array(targets), label=label).main == main


@pytest.mark.parametrize("place", range(0, 2000, 97))
def test_any_flipped_byte_is_noticed_or_harmless(folder: SaliencyFolder, place: int) -> None:
    """A file with one changed byte either reads as before or is made anew; it never breaks the phase."""
    folder.write(make_explanation(1))
    content = bytearray(folder.map_file(1).read_bytes())
    content[place % len(content)] ^= 0x55
    folder.map_file(1).write_bytes(content)
    if folder.open(SETTINGS):
        assert np.array_equal(read(folder, 1).maps, make_explanation(1).maps)


def test_pictures_of_other_images_are_removed(folder: SaliencyFolder) -> None:
    """Those that an earlier attempt drew; pictures that somebody put there stay."""
    for name in ("000001.png", "000002.png", "000013.png", "mine.png", "notes.txt"):
        (folder.overlays / name).touch()
    folder.keep_overlays({2})
    assert sorted(each.name for each in folder.overlays.iterdir()) == ["000002.png", "mine.png", "notes.txt"]


def test_what_failed_is_told_until_it_is_explained(folder: SaliencyFolder) -> None:
    """In failures.csv; what failed in an earlier attempt only, and was not tried again, is forgotten at the end."""
    assert folder.failure_record == folder.path / "failures.csv"
    for index in (1, 2, 3):
        folder.write_failure(index, ValueError(f"corrupt {index}"))
    folder.write(make_explanation(1))
    assert [each.index for each in folder.failures] == [2, 3]
    assert folder.failure_record.read_text().count("corrupt") == 2
    SaliencyFolder(folder.path).write(make_explanation(2))
    again = SaliencyFolder(folder.path)
    assert again.open(SETTINGS) == {1, 2}
    assert [each.index for each in again.failures] == [3]
    again.write_failure(5, ValueError("corrupt 5"))
    again.seal()
    assert [each.index for each in again.failures] == [5]
