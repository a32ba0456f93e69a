"""Which checkpoints a training leaves: the last, the best, and what a resume needs to end in the same bits."""

import csv
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from runner.checkpoints import SafeCheckpointIO, read_checkpoint
from runner.errors import RunFailedError
from runner.metrics_file import MetricsFile
from runner.random_states import get_random_states, set_random_states
from runner.run_checkpoints import RunCheckpoints
from runner.run_folder import RunFolder
from runner.stop_signals import StopSignals

NAN = float("nan")


class Scripted(LightningModule):
    """Logs the scores it was given, one per validation, and learns a line through points with dropout."""

    def __init__(self, scores: Sequence[float] = (), metric: str = "val_loss") -> None:
        super().__init__()
        self.scores = list(scores)
        self.metric = metric
        self.layer = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.scores and batch_idx == 0:
            self.log(self.metric, self.scores.pop(0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder.create(tmp_path, "Mine")
    yield folder
    folder.unlock()


def loader(*, shuffle: bool = False) -> DataLoader[Any]:
    x = torch.linspace(-1, 1, 8).reshape(-1, 1)
    return DataLoader(TensorDataset(x, 2 * x + 1), batch_size=2, shuffle=shuffle)


def checkpoints(folder: RunFolder, **settings: Any) -> RunCheckpoints:
    defaults: dict[str, Any] = {"monitor": None, "mode": "auto", "save_top_k": 1, "every_n_epochs": 1}
    defaults |= {"stop": StopSignals(), "on_saved": lambda epochs: None}
    return RunCheckpoints(folder, MetricsFile(folder.metrics), **(defaults | settings))


def fit(
    model: LightningModule,
    callback: RunCheckpoints,
    *,
    epochs: int,
    more: Sequence[Callback] = (),
    resume: Path | None = None,
    shuffle: bool = False,
    **arguments: Any,
) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=callback._metrics,
        callbacks=[*more, callback],
        plugins=[SafeCheckpointIO()],
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )
    trainer.fit(model, loader(shuffle=shuffle), loader(), ckpt_path=resume)
    return trainer


def train(folder: RunFolder, scores: Sequence[float], metric: str = "val_loss", **settings: Any) -> RunCheckpoints:
    """Train one epoch per score."""
    callback = checkpoints(folder, **settings)
    fit(Scripted(scores, metric), callback, epochs=len(scores))
    return callback


def names(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.checkpoints.iterdir()}


def epoch_of(path: Path) -> int:
    return int(read_checkpoint(path)["epoch"])


class BytesOfLast(Callback):
    """Keeps the inode that last.ckpt had after each epoch; it looks at the start of the next one."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.inodes: list[int] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch:
            self.inodes.append(self.folder.last_checkpoint.stat().st_ino)


def test_the_best_is_a_second_name_of_what_was_last_then(folder: RunFolder) -> None:
    """best.ckpt is a hard link to the bytes that last.ckpt had after the best epoch, and keeps them."""
    seen = BytesOfLast(folder)
    callback = checkpoints(folder)
    fit(Scripted([0.5, 0.1, 0.3]), callback, epochs=3, more=[seen])
    assert folder.best_checkpoint.stat().st_ino == seen.inodes[1]
    assert (epoch_of(folder.best_checkpoint), epoch_of(folder.last_checkpoint)) == (1, 2)
    assert names(folder) == {"best.ckpt", "last.ckpt"}
    assert callback.best_epoch == 1
    assert callback.best_score == pytest.approx(0.1)


def test_while_the_last_epoch_is_the_best_both_names_share_the_bytes(folder: RunFolder) -> None:
    """Nothing is written twice."""
    train(folder, [0.5, 0.1])
    assert folder.best_checkpoint.samefile(folder.last_checkpoint)


def test_the_best_knows_that_it_is_the_best(folder: RunFolder) -> None:
    """The state inside best.ckpt names its own epoch and score, so that training from it goes on rightly."""
    train(folder, [0.5, 0.1, 0.3])
    (state,) = [each for each in read_checkpoint(folder.best_checkpoint)["callbacks"].values() if "best_epoch" in each]
    assert (state["best_epoch"], state["best_score"], state["kept"]) == (
        1,
        pytest.approx(0.1),
        {"best.ckpt": pytest.approx(0.1)},
    )


@pytest.mark.parametrize(
    ("scores", "best"), [([NAN, 0.5, NAN, 0.3, NAN], 3), ([0.5, NAN], 0), ([float("inf"), 2.0], 1)]
)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_never_the_best(folder: RunFolder, scores: list[float], best: int, mode: str) -> None:
    """An epoch whose metric is NaN is passed over, whichever way is better; infinity is a number."""
    sign = 1 if mode == "min" else -1
    callback = train(folder, [sign * score for score in scores], monitor="val_loss", mode=mode)
    assert callback.best_epoch == best
    assert epoch_of(folder.best_checkpoint) == best


def test_without_a_number_there_is_no_best(folder: RunFolder) -> None:
    """Where every score is NaN there is only last.ckpt."""
    assert train(folder, [NAN, NAN]).best_epoch is None
    assert names(folder) == {"last.ckpt"}


def test_of_equal_scores_the_first_is_the_best(folder: RunFolder) -> None:
    """An epoch must be better than the best to take its place."""
    assert train(folder, [0.5, 0.5, 0.5]).best_epoch == 0


def test_the_mode_is_used(folder: RunFolder) -> None:
    """With a monitor of which more is better the best epoch is the one with the most."""
    assert train(folder, [0.1, 0.9, 0.5], "val_acc", monitor="val_acc").best_epoch == 1


@pytest.mark.parametrize(
    ("save_top_k", "expected"),
    [
        (0, {"last.ckpt"}),
        (1, {"last.ckpt", "best.ckpt"}),
        (2, {"last.ckpt", "best.ckpt", "epoch0001-step8.ckpt", "epoch0003-step16.ckpt"}),
        (-1, {"last.ckpt", "best.ckpt", *(f"epoch{epoch:04d}-step{4 * epoch + 4}.ckpt" for epoch in range(5))}),
    ],
)
def test_how_many_epochs_are_kept(folder: RunFolder, save_top_k: int, expected: set[str]) -> None:
    """None, the best, the k best or all of them, always beside last.ckpt; best.ckpt is the best of them."""
    train(folder, [0.5, 0.1, 0.9, 0.2, 0.7], save_top_k=save_top_k)
    assert names(folder) == expected
    assert epoch_of(folder.last_checkpoint) == 4
    if save_top_k:
        assert epoch_of(folder.best_checkpoint) == 1
    for path in folder.checkpoints.glob("epoch*"):
        assert epoch_of(path) == int(path.name[5:9])


def test_more_may_be_asked_for_than_there_are_epochs(folder: RunFolder) -> None:
    """save_top_k above the number of epochs keeps them all."""
    train(folder, [0.1, 0.5], save_top_k=9)
    assert len(list(folder.checkpoints.glob("epoch*"))) == 2


@pytest.mark.parametrize(
    ("every_n_epochs", "saved"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (0, [5]), (9, [5])]
)
def test_last_is_written_every_n_epochs_and_at_the_end(
    folder: RunFolder, every_n_epochs: int, saved: list[int]
) -> None:
    """However seldom last.ckpt is written, after training it is the last state; on_saved hears of each writing."""
    heard: list[int] = []
    model = Scripted()
    callback = checkpoints(folder, every_n_epochs=every_n_epochs, save_top_k=0, on_saved=heard.append)
    fit(model, callback, epochs=5)
    assert heard == saved
    last = read_checkpoint(folder.last_checkpoint)
    assert last["global_step"] == 20
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in model.state_dict().items())


def test_a_best_epoch_is_written_whatever_every_n_epochs_says(folder: RunFolder) -> None:
    """The best epoch has a file even where last.ckpt is written only at the end."""
    train(folder, [0.5, 0.1, 0.3, 0.9], every_n_epochs=0)
    assert (epoch_of(folder.best_checkpoint), epoch_of(folder.last_checkpoint)) == (1, 3)


@pytest.mark.parametrize("every_n_epochs", [0, 1, 2])
def test_training_that_ends_inside_an_epoch_leaves_its_last_state(folder: RunFolder, every_n_epochs: int) -> None:
    """max_steps may end training in the middle of an epoch; last.ckpt is that state."""
    model = Scripted()
    fit(model, checkpoints(folder, every_n_epochs=every_n_epochs), epochs=5, max_steps=6)
    last = read_checkpoint(folder.last_checkpoint)
    assert last["global_step"] == 6
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("metric", ["val_loss", "val/loss", "validation_loss", "loss/val"])
def test_a_validation_loss_is_the_monitor_where_none_was_named(folder: RunFolder, metric: str) -> None:
    """Without a monitor the usual names of a validation loss are looked for."""
    callback = train(folder, [0.5, 0.1, 0.3], metric)
    assert (callback.monitor, callback.best_epoch) == (metric, 1)


def test_without_a_validation_loss_there_is_no_best(folder: RunFolder) -> None:
    """No monitor is guessed from other metrics."""
    callback = train(folder, [0.5, 0.1], "val_acc")
    assert callback.monitor is None
    assert names(folder) == {"last.ckpt"}


def test_a_monitor_wins_over_a_validation_loss(folder: RunFolder) -> None:
    """A metric of training may be the monitor too."""
    callback = train(folder, [0.5, 0.9], monitor="train_loss")
    assert callback.monitor == "train_loss"
    assert callback.best_score is not None
    assert callback.best_score not in (0.5, pytest.approx(0.9))


@pytest.mark.parametrize(("monitor", "hint"), [("val_los", "Did you mean val_loss"), ("xyz", "It logs: ")])
def test_a_misspelt_monitor_is_named(folder: RunFolder, monitor: str, hint: str) -> None:
    """A monitor that nobody logs ends training after its first epoch, with the nearest name and all there are."""
    model = Scripted([0.5, 0.1])
    with pytest.raises(RunFailedError) as caught:
        fit(model, checkpoints(folder, monitor=monitor), epochs=2)
    message = str(caught.value)
    assert message.startswith(f"monitor={monitor}: the model logs no such metric.")
    assert hint in message
    assert "It logs: train_loss, train_loss_epoch, val_loss." in message
    assert model.scores == [0.1]


def test_a_monitor_may_come_with_the_first_validation(folder: RunFolder) -> None:
    """Where validation runs every second epoch, its metric need not be there after the first."""
    callback = checkpoints(folder, monitor="val_loss")
    fit(Scripted([0.5, 0.1]), callback, epochs=4, check_val_every_n_epoch=2)
    assert callback.best_epoch == 3


def test_the_best_may_lie_inside_an_epoch(folder: RunFolder) -> None:
    """With two validations per epoch, best.ckpt is the state at the better one, before the epoch's end."""
    callback = checkpoints(folder)
    model = Scripted([0.9, 0.8, 0.1, 0.7])
    trainer = fit(model, callback, epochs=2, val_check_interval=0.5)
    best, last = read_checkpoint(folder.best_checkpoint), read_checkpoint(folder.last_checkpoint)
    assert (best["epoch"], best["global_step"], last["global_step"]) == (1, 6, 8)
    assert callback.best_step == 6
    assert callback.best_score == pytest.approx(0.1)
    assert trainer.global_step == 8
    assert any(not torch.equal(value, best["state_dict"][name]) for name, value in last["state_dict"].items())


def test_the_k_best_may_lie_inside_epochs(folder: RunFolder) -> None:
    """Validations inside an epoch count among the k best, each with a file of its own."""
    callback = checkpoints(folder, save_top_k=2)
    fit(Scripted([0.9, 0.3, 0.1, 0.7]), callback, epochs=2, val_check_interval=0.5)
    assert names(folder) == {"last.ckpt", "best.ckpt", "epoch0000-step4.ckpt", "epoch0001-step6.ckpt"}
    assert read_checkpoint(folder.best_checkpoint)["global_step"] == 6


@pytest.mark.parametrize("monitor", [None, "val_loss"])
def test_the_first_validation_may_be_the_best(folder: RunFolder, monitor: str | None) -> None:
    """Inside the first epoch the metric is found as well, whether or not it was named."""
    callback = checkpoints(folder, monitor=monitor)
    fit(Scripted([0.1, 0.9, 0.5, 0.6]), callback, epochs=2, val_check_interval=0.5)
    assert callback.best_step == read_checkpoint(folder.best_checkpoint)["global_step"] == 2


def test_a_state_that_was_not_validated_is_not_kept(folder: RunFolder) -> None:
    """Where validation leaves epochs out, their states do not count with the score of an earlier one."""
    fit(Scripted([0.5, 0.4]), checkpoints(folder, save_top_k=3), epochs=4, check_val_every_n_epoch=2)
    assert names(folder) == {"last.ckpt", "best.ckpt", "epoch0001-step8.ckpt", "epoch0003-step16.ckpt"}


def test_the_end_of_an_epoch_is_not_what_was_validated_before_it(folder: RunFolder) -> None:
    """With a validation after three of four batches, it is the state after three that is kept."""
    fit(Scripted([0.5, 0.4]), checkpoints(folder, save_top_k=-1), epochs=2, val_check_interval=3)
    assert names(folder) == {"last.ckpt", "best.ckpt", "epoch0000-step3.ckpt", "epoch0001-step7.ckpt"}


def test_validation_may_be_counted_in_batches_over_epochs(folder: RunFolder) -> None:
    """A first epoch without validation is no reason to call the monitor misspelt."""
    callback = checkpoints(folder, monitor="val_loss")
    fit(Scripted([0.5, 0.4]), callback, epochs=4, check_val_every_n_epoch=None, val_check_interval=6)
    assert callback.best_step == 12


def test_the_sanity_check_is_no_epoch(folder: RunFolder) -> None:
    """Validation before training is not looked at, however good its score."""
    callback = checkpoints(folder, monitor="val_loss")
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        num_sanity_val_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Scripted([0.0, 0.5]), loader(), loader())
    assert callback.best_score == pytest.approx(0.5)


def test_an_epoch_is_in_the_metrics_before_its_checkpoint_is_written(folder: RunFolder) -> None:
    """When on_saved is called, metrics.csv has the whole row of the epoch; Lightning adds no second one."""
    seen: list[list[str]] = []

    def look(epochs: int) -> None:
        with folder.metrics.open() as file:
            rows = list(csv.DictReader(file))
        seen.append([row["epoch"] for row in rows if row["train_loss_epoch"] and row["val_loss"]])
        assert len(rows) == epochs

    fit(Scripted([0.5, 0.1, 0.3]), checkpoints(folder, on_saved=look, every_n_epochs=1), epochs=3)
    assert seen == [["0"], ["0", "1"], ["0", "1", "2"]]
    assert len(folder.metrics.read_text().splitlines()) == 4


def test_a_resumed_training_ends_in_the_same_bits(folder: RunFolder, tmp_path: Path) -> None:
    """Two epochs, then two more in another process's state, equal four: weights, optimizer, metrics, best epoch.

    The model has dropout and the data are shuffled, so both generators' states must have been put back.
    """
    scores = [0.5, 0.4, 0.1, 0.3]
    torch.manual_seed(1)
    uninterrupted = checkpoints(folder)
    fit(Scripted(scores), uninterrupted, epochs=4, shuffle=True)

    other = RunFolder.create(tmp_path / "other", "Mine")
    torch.manual_seed(1)
    fit(Scripted(scores), checkpoints(other), epochs=2, shuffle=True)
    torch.manual_seed(99)
    resumed = checkpoints(other)
    fit(Scripted(scores[2:]), resumed, epochs=4, shuffle=True, resume=other.last_checkpoint)

    one, two = read_checkpoint(folder.last_checkpoint), read_checkpoint(other.last_checkpoint)
    assert (two["epoch"], two["global_step"]) == (one["epoch"], one["global_step"])
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
    moments = [state["optimizer_states"][0]["state"][0]["exp_avg"] for state in (one, two)]
    assert torch.equal(*moments)
    assert other.metrics.read_text() == folder.metrics.read_text()
    assert (resumed.best_epoch, resumed.best_score, resumed.best_step) == (
        uninterrupted.best_epoch,
        uninterrupted.best_score,
        uninterrupted.best_step,
    )
    other.unlock()


def test_the_random_states_are_what_makes_them_the_same(folder: RunFolder) -> None:
    """The same resume with other states in the checkpoint gives other bits, so the test before can fail."""
    torch.manual_seed(1)
    fit(Scripted(), checkpoints(folder), epochs=2, shuffle=True)
    checkpoint = read_checkpoint(folder.last_checkpoint)
    (state,) = [each for each in checkpoint["callbacks"].values() if "random_states" in each]
    results = []
    for seed in (None, None, 5):
        if seed is not None:
            torch.manual_seed(seed)
            state["random_states"] = get_random_states()
        path = folder.path / f"start{seed}.ckpt"
        SafeCheckpointIO().save_checkpoint(checkpoint, path)
        model = Scripted()
        fit(model, checkpoints(folder), epochs=4, shuffle=True, resume=path)
        results.append(model.state_dict()["layer.0.weight"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_resumed_training_remembers_its_best(folder: RunFolder) -> None:
    """The best epoch of the first attempt stays the best when later ones are worse."""
    train(folder, [0.5, 0.1])
    resumed = checkpoints(folder)
    fit(Scripted([0.3, 0.2]), resumed, epochs=4, resume=folder.last_checkpoint)
    assert (resumed.best_epoch, epoch_of(folder.best_checkpoint)) == (1, 1)


def test_another_monitor_begins_its_own_search(folder: RunFolder) -> None:
    """Scores of another metric are not compared: a resume with a new monitor finds its own best."""
    train(folder, [0.5, 0.1])
    resumed = checkpoints(folder, monitor="val_acc")
    fit(Scripted([0.3, 0.2], "val_acc"), resumed, epochs=4, resume=folder.last_checkpoint)
    assert resumed.best_epoch == 2
    assert resumed.best_score == pytest.approx(0.3)


def test_a_best_that_a_kill_left_without_its_name_gets_it(folder: RunFolder) -> None:
    """A kill between last.ckpt and the link is mended by the resume: last.ckpt knows that it is the best."""
    train(folder, [0.5, 0.1])
    folder.best_checkpoint.unlink()
    fit(Scripted([0.9]), checkpoints(folder), epochs=3, resume=folder.last_checkpoint)
    assert (epoch_of(folder.best_checkpoint), epoch_of(folder.last_checkpoint)) == (1, 2)


def test_a_best_without_its_name_gets_it_although_no_epoch_is_left(folder: RunFolder) -> None:
    """The same kill in the last epoch: training has nothing more to do, and the best of before is not the best."""
    train(folder, [0.5, 0.4])
    older = folder.path / "older.ckpt"
    shutil.copy(folder.best_checkpoint, older)
    fit(Scripted([0.1]), checkpoints(folder), epochs=3, resume=folder.last_checkpoint)
    for path in (folder.best_checkpoint, folder.previous_checkpoint):
        path.unlink(missing_ok=True)  # it is a name of last.ckpt too
        shutil.copy(older, path)
    saved: list[int] = []
    resumed = checkpoints(folder, on_saved=saved.append)
    fit(Scripted(), resumed, epochs=3, resume=folder.last_checkpoint)
    assert (epoch_of(folder.best_checkpoint), epoch_of(folder.last_checkpoint)) == (2, 2)
    assert (resumed.best_epoch, resumed.written, saved) == (2, folder.best_checkpoint, [3])
    assert not folder.previous_checkpoint.exists()
    assert len(folder.metrics.read_text().splitlines()) == 4


def test_random_states_come_back() -> None:
    """Python's, NumPy's and torch's generators go on with the same numbers, the second half of a pair included."""

    def draw() -> list[float]:
        return [
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.standard_normal(),
            float(torch.rand(1)),
        ]

    before = get_random_states()
    try:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        draw()  # one normal number: the generators now hold the other one of the pair
        states = get_random_states()
        first = draw()
        assert draw() != first
        set_random_states(states)
        assert draw() == first
    finally:
        set_random_states(before)


def test_random_states_survive_safe_loading(tmp_path: Path) -> None:
    """They are written into a checkpoint and read back without running code."""
    states = get_random_states()
    SafeCheckpointIO().save_checkpoint({"states": states}, tmp_path / "a.ckpt")
    first = (random.random(), np.random.rand(), float(torch.rand(1)))
    set_random_states(read_checkpoint(tmp_path / "a.ckpt")["states"])
    assert (random.random(), np.random.rand(), float(torch.rand(1))) == first
