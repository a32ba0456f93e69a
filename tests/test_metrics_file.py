"""metrics.csv: rows, columns, numbers, and what happens to it when a run is killed or goes on."""

import csv
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from runner.metrics_file import MetricsFile
from runner.metrics_table import drop_rows, last_row, metrics_of_epoch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.csv"


def write(path: Path, *rows: Mapping[str, float]) -> MetricsFile:
    """Log each row under its ``epoch`` and ``step``."""
    metrics = MetricsFile(path)
    for row in rows:
        metrics.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
    metrics.save()
    return metrics


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


class Line(LightningModule):
    """Logs one metric per step, one per epoch, and one from validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("batch", float(batch_idx), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_is_logged_for_one_epoch_and_step_is_one_row(path: Path) -> None:
    """Training and validation metrics of the same epoch and step share a row."""
    write(path, {"epoch": 0, "step": 4, "val_loss": 0.5}, {"epoch": 0, "step": 4, "train_loss": 0.25})
    assert lines(path) == ["epoch,step,val_loss,train_loss", "0,4,0.5,0.25"]


@pytest.mark.parametrize("other", [{"epoch": 1, "step": 4}, {"epoch": 0, "step": 5}])
def test_another_epoch_or_step_is_another_row(path: Path, other: dict[str, float]) -> None:
    """A new row begins when either key changes."""
    write(path, {"epoch": 0, "step": 4, "loss": 0.5}, other | {"loss": 0.25})
    assert [line.rpartition(",")[2] for line in lines(path)] == ["loss", "0.5", "0.25"]


def test_without_epoch_and_step_metrics_go_into_the_current_row(path: Path) -> None:
    """Lightning may leave out both; the metric then belongs to what was logged last."""
    metrics = write(path, {"epoch": 3, "step": 9, "a": 1.0})
    metrics.log_metrics({"b": 2.0})
    metrics.save()
    assert lines(path) == ["epoch,step,a,b", "3,9,1.0,2.0"]


def test_a_new_metric_is_a_new_last_column(path: Path) -> None:
    """Columns stay where they are; earlier rows are kept, with an empty cell."""
    metrics = write(path, {"epoch": 0, "step": 4, "b": 1.0}, {"epoch": 1, "step": 9, "b": 2.0, "a": 3.0})
    metrics.log_metrics({"epoch": 2, "a": 4.0}, 14)
    metrics.save()
    assert lines(path) == ["epoch,step,b,a", "0,4,1.0,", "1,9,2.0,3.0", "2,14,,4.0"]


def test_a_row_may_grow_and_shrink_while_it_is_the_last(path: Path) -> None:
    """The last row is written anew in place, whole, whatever was there before, and the rest is not touched."""
    metrics = write(path, {"epoch": 0, "step": 3, "a": 1.0})
    file = path.stat().st_ino
    for value in (0.123456789, 0.5, 0.987654321):
        metrics.log_metrics({"epoch": 0, "a": value}, 4)
        metrics.save()
        assert path.read_bytes() == f"epoch,step,a\n0,3,1.0\n0,4,{value}\n".encode()
        assert path.stat().st_ino == file


def test_the_first_metric_may_come_without_epoch_and_step(path: Path) -> None:
    """Both count from 0."""
    metrics = MetricsFile(path)
    metrics.log_metrics({"a": 1.0})
    metrics.save()
    assert path.read_bytes() == b"epoch,step,a\n0,0,1.0\n"


def test_epochs_are_done_again_by_the_one_who_logs(path: Path) -> None:
    """What was not written yet is gone with them."""
    metrics = write(path, {"epoch": 0, "step": 4, "a": 1.0}, {"epoch": 1, "step": 9, "a": 2.0})
    metrics.log_metrics({"epoch": 1, "b": 7.0}, 9)
    metrics.drop_from(1)
    metrics.save()
    assert lines(path) == ["epoch,step,a", "0,4,1.0"]
    metrics.log_metrics({"epoch": 1, "a": 3.0}, 9)
    metrics.save()
    assert lines(path) == ["epoch,step,a", "0,4,1.0", "1,9,3.0"]


def test_the_same_values_again_write_nothing(path: Path) -> None:
    """Logging what is there already does not touch the file, also for NaN."""
    row = {"epoch": 0, "step": 4, "a": 0.1, "b": math.nan}
    metrics = write(path, row)
    os.utime(path, (1, 1))
    metrics.log_metrics({"epoch": 0, "a": 0.1, "b": math.nan}, 4)
    metrics.save()
    metrics.finalize("success")
    assert path.stat().st_mtime == 1
    metrics.log_metrics({"epoch": 0, "a": 0.2}, 4)
    metrics.finalize("success")
    assert lines(path) == ["epoch,step,a,b", "0,4,0.2,nan"]


def test_a_change_of_sign_of_zero_is_a_change(path: Path) -> None:
    """-0.0 equals 0.0 but is another number in the file."""
    metrics = write(path, {"epoch": 0, "step": 0, "a": 0.0})
    metrics.log_metrics({"epoch": 0, "a": -0.0}, 0)
    metrics.save()
    assert lines(path)[1] == "0,0,-0.0"


@settings(max_examples=40, deadline=None)  # it writes files
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_numbers_come_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    """Every float is written so that reading it gives the same float; nan and inf have their names."""
    path = tmp_path_factory.mktemp("round") / "metrics.csv"
    row = {f"m{index}": value for index, value in enumerate(values)}
    write(path, row | {"epoch": 0, "step": 0})
    assert [repr(value) for value in last_row(path).values()] == [repr(value) for value in values]


@pytest.mark.parametrize("torn", ["1,9,0.2", "1,", "1", "1,9,0.25,0.1"])
def test_a_line_that_a_kill_left_unfinished_is_dropped(path: Path, torn: str) -> None:
    """Only lines that end are believed; the next run writes over the rest."""
    write(path, {"epoch": 0, "step": 4, "a": 0.5})
    with path.open("a") as file:
        file.write(torn)
    assert last_row(path) == {"a": 0.5}
    write(path, {"epoch": 1, "step": 9, "a": 0.25})
    assert lines(path) == ["epoch,step,a", "0,4,0.5", "1,9,0.25"]


def test_a_second_attempt_appends(path: Path) -> None:
    """Rows that are there are kept, and so is the order of their columns."""
    write(path, {"epoch": 0, "step": 4, "b": 0.5, "a": 1.0})
    write(path, {"epoch": 1, "step": 9, "a": 2.0, "c": 3.0})
    assert lines(path) == ["epoch,step,b,a,c", "0,4,0.5,1.0,", "1,9,,2.0,3.0"]


def test_nothing_logged_leaves_no_file(path: Path) -> None:
    """A logger that was never used writes nothing."""
    MetricsFile(path).finalize("success")
    assert not path.exists()


def test_rows_of_epochs_that_are_done_again_are_removed(path: Path) -> None:
    """drop_rows removes the epoch and all later ones, counted from 0, and keeps the columns."""
    write(path, *({"epoch": epoch, "step": 5 * epoch + step, "a": 0.1} for epoch in range(12) for step in (0, 4)))
    drop_rows(path, 10)
    assert [line.split(",")[0] for line in lines(path)[1:]] == [str(epoch) for epoch in range(10) for _ in (0, 4)]
    drop_rows(path, 0)
    assert path.read_text() == "epoch,step,a\n"


def test_there_may_be_no_file_to_remove_rows_from(path: Path) -> None:
    """drop_rows and last_row take a file that is not there for one without rows."""
    drop_rows(path, 0)
    assert not path.exists()
    assert last_row(path) == {}


def test_after_all_rows_were_removed_writing_goes_on(path: Path) -> None:
    """A file that has only its header is filled again under the same columns."""
    write(path, {"epoch": 0, "step": 4, "a": 0.5, "b": 1.0})
    drop_rows(path, 0)
    assert last_row(path) == {}
    write(path, {"epoch": 0, "step": 4, "b": 2.0})
    assert lines(path) == ["epoch,step,a,b", "0,4,,2.0"]


def test_the_last_row_is_metrics_only(path: Path) -> None:
    """last_row leaves out epoch, step and empty cells."""
    write(path, {"epoch": 0, "step": 4, "a": 0.5}, {"epoch": 1, "step": 9, "b": math.inf})
    assert last_row(path) == {"b": math.inf}


def test_the_metrics_of_an_epoch(path: Path) -> None:
    """From all of its rows; of a metric that several have, the last."""
    write(path, {"epoch": 0, "step": 4, "a": 0.5}, {"epoch": 1, "step": 5, "a": 0.25, "b": 2.0})
    write(path, {"epoch": 1, "step": 9, "a": 0.125}, {"epoch": 2, "step": 14, "a": 3.0})
    assert metrics_of_epoch(path, 1) == {"a": 0.125, "b": 2.0}
    assert metrics_of_epoch(path, 3) == metrics_of_epoch(path.with_name("none.csv"), 0) == {}


@pytest.mark.parametrize("name", ["val,loss", 'a "quoted" name', "größe", "two words"])
def test_names_of_metrics_may_be_odd(path: Path, name: str) -> None:
    """Commas, quotes and letters of other languages are kept as CSV keeps them."""
    write(path, {"epoch": 0, "step": 0, name: 0.5}, {"epoch": 1, "step": 1, name: 0.25, "more": 1.0})
    with path.open(encoding="utf-8", newline="") as file:
        assert [row[name] for row in csv.DictReader(file)] == ["0.5", "0.25"]


def test_the_file_can_be_read_while_it_is_written(path: Path) -> None:
    """Whoever reads in between sees whole rows with the numbers that were logged, and never fewer than before."""
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            if path.exists():
                text = path.read_text()
                rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
                assert all(float(row["m0"]) == int(row["epoch"]) / 7 for row in rows)
                assert not seen or len(rows) >= seen[-1]
                seen.append(len(rows))

    failures: list[BaseException] = []

    def watched() -> None:
        try:
            read()
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=watched)
    reader.start()
    metrics = MetricsFile(path)
    for epoch in range(200):
        metrics.log_metrics({"epoch": epoch, **{f"m{index}": epoch / 7 for index in range(1 + epoch // 20)}}, epoch)
        metrics.save()
        while len(set(seen)) < epoch // 20 and reader.is_alive():
            time.sleep(0.001)
    done.set()
    reader.join()
    assert failures == []
    assert len(set(seen)) > 3
    assert len(lines(path)) == 201


def test_a_trainer_fills_it(path: Path) -> None:
    """Rows per logged step and one per epoch, at the epoch's last step, where the step's metrics are as well."""
    data = DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)
    trainer = Trainer(
        max_epochs=2,
        logger=MetricsFile(path),
        log_every_n_steps=2,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Line(), data, data)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"], row["batch"]) for row in rows] == [
        ("0", "1", "1.0"),
        ("0", "3", "3.0"),
        ("1", "5", "1.0"),
        ("1", "7", "3.0"),
    ]
    assert [bool(row["val_loss"]) and bool(row["loss_epoch"]) for row in rows] == [False, True, False, True]
    assert float(rows[-1]["val_loss"]) == float(trainer.callback_metrics["val_loss"])
