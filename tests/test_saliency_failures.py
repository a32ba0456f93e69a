"""Images that cannot be explained: recorded, told at the end, tried again, and no reason to stop before."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from runner import run
from runner.errors import RunFailedError
from runner.phases.explaining import explain
from runner.run_state import PhaseResult
from runner.saliency.failures import MAX_MESSAGE, FailureRecord
from runner.saliency.storage import SavedMaps
from tests.saliency_samples import Images, Loaders, RegionModel, Sample, make_run, rows_of


class Fragile(Images):
    """Images of which some files are corrupt."""

    def __init__(self, corrupt: set[int]) -> None:
        super().__init__()
        self.corrupt = corrupt

    def __getitem__(self, index: int) -> Any:
        if index in self.corrupt:
            raise OSError(f"image {index}: cannot identify image file\n=cmd|'/c calc'!A1, \"x\"")
        return super().__getitem__(index)


def files_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def failures_in(path: Path) -> list[dict[str, str]]:
    with (path / "saliency" / "failures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- the record -------------------------------------------------------------------------------------------------------


def test_the_record_is_a_table_by_index(tmp_path: Path) -> None:
    """Every failure is in the file soon, on one line, sorted; whatever the message, a CSV reader gets it back."""
    file = tmp_path / "failures.csv"
    record = FailureRecord(file)
    record.add(7, ValueError('comma, "quotes"\nand\0\udcff lines'))
    assert file.read_text() == 'index,error,message\n7,ValueError,"comma, ""quotes"" and?? lines"\n'
    record.add(3, KeyError("x"))
    record.add(10, ZeroDivisionError())
    record.add(7, OSError("z" * 5000 + " end"))
    record.flush()
    again = FailureRecord(file)
    assert again.failures == record.failures
    assert [each.index for each in again.failures] == [3, 7, 10]
    assert [str(each) for each in again.failures if each.index != 7] == ["KeyError: 'x'", "ZeroDivisionError"]
    assert len(file.read_text().splitlines()) == 4
    assert len(again.failures[1].message) <= MAX_MESSAGE


def test_an_error_that_cannot_say_what_it_is(tmp_path: Path) -> None:
    """An exception whose own text raises is recorded by its name."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    record = FailureRecord(tmp_path / "failures.csv")
    record.add(0, Mute())
    assert str(record.failures[0]) == "Mute: (without a message)"


def test_many_failures_do_not_write_the_table_each_time(tmp_path: Path) -> None:
    """Two thousand failures take a moment, and none is lost."""
    record = FailureRecord(tmp_path / "failures.csv")
    for index in range(2000):
        record.add(index, ValueError("corrupt"))
    record.flush()
    assert len(FailureRecord(record.path).failures) == 2000


def test_secrets_are_not_recorded(tmp_path: Path) -> None:
    """A password in the address of a file is in no record."""
    record = FailureRecord(tmp_path / "failures.csv")
    record.add(0, OSError("no answer from https://bob:canary@host/scan.png"))
    assert "canary" not in (tmp_path / "failures.csv").read_text()


def test_an_empty_record_is_no_file(tmp_path: Path) -> None:
    """What is mended is forgotten; the file goes with the last failure."""
    record = FailureRecord(tmp_path / "failures.csv")
    for index in (1, 2):
        record.add(index, ValueError("corrupt"))
    record.discard([1, 5])
    assert [each.index for each in FailureRecord(record.path).failures] == [2]
    record.discard([2])
    assert not record.path.exists()
    assert FailureRecord(record.path).failures == []


def test_what_is_not_met_again_is_forgotten(tmp_path: Path) -> None:
    """Failures of an earlier attempt stay until the end of this one, which keeps its own."""
    FailureRecord(tmp_path / "failures.csv").add(1, ValueError("old"))
    record = FailureRecord(tmp_path / "failures.csv")
    record.add(2, ValueError("new"))
    assert [each.index for each in FailureRecord(record.path).failures] == [1, 2]
    record.forget_earlier()
    assert [each.index for each in FailureRecord(record.path).failures] == [2]


# --- the phase --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [1, 4])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failed_image_does_not_end_the_phase(tmp_path: Path, shard_size: int, num_workers: int) -> None:
    """The others are explained as ever; table, metrics and record are written; the result says what failed."""
    data, container = Fragile({1, 4}), Sample(saliency_shard_size=shard_size)
    loaders = Loaders(lambda: DataLoader(data, batch_size=4, num_workers=num_workers))
    result = explain(make_run(tmp_path, container, loaders))
    assert [row["index"] for row in rows_of(make_run(tmp_path, container))] == ["0", "2", "3", "5"]
    assert (result.metrics["num_images"], result.metrics["num_failed"]) == (4, 2)
    assert result.failed is not None
    assert result.failed.startswith(
        "saliency: 2 images could not be explained: 1, 4. Image 1: OSError: image 1: cannot"
    )
    assert f"{tmp_path}/saliency/failures.csv; --resume={tmp_path} tries them again" in result.failed
    assert [(row["index"], row["error"]) for row in failures_in(tmp_path)] == [("1", "OSError"), ("4", "OSError")]
    assert failures_in(tmp_path)[0]["message"] == "image 1: cannot identify image file =cmd|'/c calc'!A1, \"x\""


def test_an_image_that_the_model_cannot_take_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the model for one image leaves the other images of its batch as they are without it."""

    class Picky(RegionModel):
        def forward(self, images: Tensor) -> Tensor:
            if (images[:, 0, 0, 0] > 5).any():
                raise ArithmeticError("too bright")
            return super().forward(images)

    data = Images()
    data.images[2, 0, 0, 0] = 9
    result = explain(make_run(tmp_path / "a", Sample(), data, Picky()))
    explain(make_run(tmp_path / "b", Sample()))
    assert [(row["index"], row["message"]) for row in failures_in(tmp_path / "a")] == [("2", "too bright")]
    assert result.failed is not None
    assert "image 2 cannot be explained: ArithmeticError: too bright" in caplog.text
    maps, wanted = (SavedMaps(tmp_path / name / "saliency") for name in ("a", "b"))
    assert [each.index for each in maps] == [0, 1, 3, 4, 5]
    for explanation in maps:
        assert (explanation.maps == wanted[explanation.index].maps).all()


@pytest.mark.parametrize("shard_size", [1, 4])
def test_a_resume_tries_failed_images_again(tmp_path: Path, shard_size: int) -> None:
    """What was mended is explained, what was not stays recorded, and in the end all is as if nothing had failed."""
    container = Sample(saliency_shard_size=shard_size)
    data = Fragile({1, 4})
    explain(make_run(tmp_path / "a", container, data))
    data.corrupt, data.loaded = {4}, []
    assert explain(make_run(tmp_path / "a", container, data)).metrics["num_failed"] == 1
    assert data.loaded == [1]
    assert [row["index"] for row in failures_in(tmp_path / "a")] == ["4"]
    data.corrupt = set()
    result = explain(make_run(tmp_path / "a", container, data))
    assert result.failed is None
    explain(make_run(tmp_path / "b", container))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_lower_limit_leaves_failed_images_out(tmp_path: Path) -> None:
    """Images that are no longer asked for are no failures."""
    explain(make_run(tmp_path, Sample(), Fragile({5})))
    result = explain(make_run(tmp_path, Sample(saliency_limit=4), Fragile({5})))
    assert (result.failed, result.metrics["num_failed"]) == (None, 0)


def test_many_failures_are_counted_and_some_named(tmp_path: Path) -> None:
    """The message does not grow with the number of failures."""

    class Large(Images):
        def __getitem__(self, index: int) -> Any:
            if index % 2:
                raise OSError("corrupt")
            return super().__getitem__(index)

    result = explain(make_run(tmp_path, Sample(), Large(40)))
    assert "20 images could not be explained: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 10 more." in str(result.failed)
    assert len(failures_in(tmp_path)) == 20


def test_not_one_image_that_can_be_explained(tmp_path: Path) -> None:
    """With a single corrupt image the table is empty and the result is a failure, not nothing to do."""
    result = explain(make_run(tmp_path, Sample(saliency_limit=1), Fragile({0})))
    assert (result.metrics["num_images"], result.metrics["num_failed"]) == (0, 1)
    assert "1 image could not be explained: 0. " in str(result.failed)
    assert rows_of(make_run(tmp_path, Sample())) == []


def test_a_bug_is_no_failure_of_images(tmp_path: Path) -> None:
    """When not one image of the first batch can be loaded the phase ends with the data set's own error."""
    with pytest.raises(OSError, match="cannot identify"):
        explain(make_run(tmp_path, Sample(), Fragile(set(range(6)))))


# --- the run ----------------------------------------------------------------------------------------------------------


class FragileRun(Sample):
    """Trains nothing; explains images of which the file ``corrupt`` in the working directory says one is corrupt."""

    def create_model(self) -> RegionModel:
        return RegionModel()

    def get_data_module(self) -> Loaders:
        corrupt = {3} if Path(os.environ["CORRUPT"]).exists() else set()
        return Loaders(lambda: DataLoader(Fragile(corrupt), batch_size=4))


def test_a_run_with_failed_images_fails_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run() raises with the reason; results.json has the metrics, status.json the failure; a resume completes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CORRUPT", str(tmp_path / "corrupt"))
    Path("corrupt").touch()
    torch.save({"state_dict": RegionModel().state_dict()}, "weights.ckpt")
    values: dict[str, Any] = {"quiet": True, "logger": [], "saliency_method": "sliding_window"}
    with pytest.raises(RunFailedError, match=r"1 image could not be explained: 3\. Image 3: OSError") as failed:
        run(FragileRun, train=False, src_checkpoint="weights.ckpt", **values)
    folder = (tmp_path / "outputs" / "latest").resolve()
    assert failed.value.exit_code == 1
    assert f"--resume={folder}" in str(failed.value)
    results = json.loads((folder / "results.json").read_text())["saliency"]
    assert (results["metrics"]["num_images"], results["metrics"]["num_failed"]) == (5, 1)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["phase"]) == ("failed", "saliency")
    assert "saliency" not in status["phases"]
    Path("corrupt").unlink()
    resumed = run(FragileRun, resume=folder, quiet=True)
    assert resumed.phases["saliency"] == "completed"
    assert (resumed.metrics["num_images"], resumed.metrics["num_failed"]) == (6, 0)
    assert not (folder / "saliency" / "failures.csv").exists()


def test_a_phase_that_worked_has_not_failed() -> None:
    """The default of a result is success."""
    assert PhaseResult().failed is None
