"""Progress: a plain line per epoch where there is no terminal."""

import logging
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from runner.progress import EpochLines, TrainingBar, progress_callback


class Line(LightningModule):
    """Logs metrics whose values are known."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        self.log("train_loss", 0.123456, on_step=True, on_epoch=True)
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_acc", 1.0)
        self.log("a_count", 12345678.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fails(Line):
    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        raise ZeroDivisionError


def fit(callback: Callback, max_epochs: int, max_steps: int = -1, model: LightningModule | None = None) -> None:
    """Train with two batches an epoch."""
    trainer = Trainer(
        max_epochs=max_epochs,
        max_steps=max_steps,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2)
    trainer.fit(model or Line(), loader, loader)


def lines_of(caplog: pytest.LogCaptureFixture, callback: Callback, max_epochs: int, max_steps: int = -1) -> list[str]:
    """Train and return the lines that were logged."""
    with caplog.at_level(logging.INFO, "runner.progress"):
        fit(callback, max_epochs, max_steps)
    return [record.getMessage() for record in caplog.records if record.name == "runner.progress"]


@pytest.mark.parametrize("kind", [EpochLines, TrainingBar])
def test_an_epoch_is_one_line(caplog: pytest.LogCaptureFixture, kind: type[Callback]) -> None:
    """Number, metrics in alphabetical order without those of single steps, time, and time left until the last."""
    metrics = r"a_count 1\.235e\+07  train_loss 0\.1235  train_loss_epoch 0\.1235  val_acc 1"
    first, second, third = lines_of(caplog, kind(), max_epochs=3)
    assert re.fullmatch(rf"epoch 1/3  {metrics}  \d+\.\d s  \d+\.\d s left", first)
    assert re.fullmatch(rf"epoch 2/3  {metrics}  \d+\.\d s  \d+\.\d s left", second)
    assert re.fullmatch(rf"epoch 3/3  {metrics}  \d+\.\d s", third)


def test_without_a_number_of_epochs_no_time_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """Where only steps are limited, neither the number of epochs nor the time left is known."""
    lines = lines_of(caplog, EpochLines(), max_epochs=-1, max_steps=4)
    assert [re.sub(r"  .*", "", line) for line in lines] == ["epoch 1", "epoch 2"]
    assert not any(line.endswith("left") for line in lines)


def test_the_time_left_is_that_of_the_epochs_to_go(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean time of the epochs of this attempt times the number of those to go, also after a resume."""
    times = iter([100.0, 100.0, 130.0, 130.0, 140.0])
    monkeypatch.setattr("runner.progress.time", SimpleNamespace(monotonic=lambda: next(times)))
    trainer, model = Trainer(max_epochs=10, logger=False, enable_checkpointing=False, accelerator="cpu"), Line()
    lines = EpochLines()
    progress: Any = trainer.fit_loop.epoch_progress.current
    progress.completed = 4
    with caplog.at_level(logging.INFO, "runner.progress"):
        lines.on_train_start(trainer, model)
        for epoch in (4, 5):
            progress.completed = epoch
            lines.on_train_epoch_start(trainer, model)
            lines.on_train_epoch_end(trainer, model)
    messages = [record.getMessage() for record in caplog.records if record.name == "runner.progress"]
    assert messages == ["epoch 5/10  30.0 s  2 min 30 s left", "epoch 6/10  10.0 s  1 min 20 s left"]


@pytest.mark.parametrize(("is_terminal", "kind"), [(True, TrainingBar), (False, EpochLines)])
def test_a_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, kind: type) -> None:
    """Files and pipes get lines."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert type(progress_callback()) is kind


def test_the_bar_is_full_at_the_end_and_gone() -> None:
    """It counts the batches of all epochs, and leaves the terminal when training ends."""
    bar = TrainingBar()
    fit(bar, max_epochs=3)
    (task,) = bar._bar.tasks
    assert (task.total, task.completed) == (6, 6)
    assert bar._bar.finished
    assert not bar._bar.live.is_started


def test_the_bar_goes_on_where_nothing_is_known() -> None:
    """Without a number of epochs it counts batches up to an unknown total."""
    bar = TrainingBar()
    fit(bar, max_epochs=-1, max_steps=4)
    (task,) = bar._bar.tasks
    assert (task.total, task.completed) == (None, 4)


def test_the_bar_is_gone_after_an_error() -> None:
    """The error has the terminal for itself."""
    bar = TrainingBar()
    with pytest.raises(ZeroDivisionError):
        fit(bar, max_epochs=1, model=Fails())
    assert not bar._bar.live.is_started
