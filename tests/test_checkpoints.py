"""Checkpoints: whole or not there, read without running code, chosen with a reason."""

import os
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from runner.checkpoints import SafeCheckpointIO, find_checkpoint, load_weights, read_checkpoint
from runner.errors import EXIT_USAGE, CheckpointError
from runner.run_folder import RunFolder


class Color(Enum):
    RED = "red"
    PAIR = (1, 2)


class Line(LightningModule):
    def __init__(self, num_outputs: int = 1, **settings: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(1, num_outputs)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Payload:
    """Makes the file ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def fit(model: LightningModule, path: Path) -> None:
    """Train for one step and write *path*, as a run does."""
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(torch.ones(2, 1))))
    trainer.save_checkpoint(path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A checkpoint."""
    path = tmp_path / "good.ckpt"
    SafeCheckpointIO().save_checkpoint({"state_dict": Line().state_dict(), "epoch": 3}, path)
    return path


def no_file(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    SafeCheckpointIO().save_checkpoint({"weights": torch.ones(1000)}, path)
    os.truncate(path, path.stat().st_size // 2)


def flipped_bit(path: Path) -> None:
    """The bit is in the table of contents of the archive."""
    SafeCheckpointIO().save_checkpoint({"weights": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x05\x06")] ^= 1
    path.write_bytes(content)


def no_dictionary(path: Path) -> None:
    torch.save([1, 2], path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_file, "There is no checkpoint file "),
        (Path.mkdir, "There is no checkpoint file "),
        (empty, "is damaged or no checkpoint"),
        (truncated, "is damaged or no checkpoint"),
        (flipped_bit, "is damaged or no checkpoint"),
        (no_dictionary, "is no Lightning checkpoint: it holds a list"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    """Missing, empty, torn and foreign files are a CheckpointError that names the file."""
    path = tmp_path / "a.ckpt"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("in_zip", [True, False], ids=["zip", "old format"])
def test_a_payload_is_not_executed(tmp_path: Path, in_zip: bool) -> None:
    """A file that would run code is refused, with the switch that would allow it, and the code has not run."""
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    torch.save({"state_dict": {}, "more": Payload(marker)}, path, _use_new_zipfile_serialization=in_zip)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    if in_zip:
        assert "would have to run code" in str(caught.value)
        assert "--trust_checkpoint" in str(caught.value)
    read_checkpoint(path, trust=True)
    assert marker.exists()


def test_lightning_reads_through_the_same_gate(tmp_path: Path) -> None:
    """The plug-in for the Trainer refuses payloads too, whatever Lightning asks for, unless it was told to trust."""
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    torch.save({"more": Payload(marker)}, path)
    with pytest.raises(CheckpointError, match="--trust_checkpoint"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not marker.exists()
    SafeCheckpointIO(trust=True).load_checkpoint(path)
    assert marker.exists()


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_the_variable_that_lets_every_file_run_code_is_refused(
    good: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """torch lets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD overrule its caller; nothing is read then without trust."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
    with pytest.raises(CheckpointError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"):
        read_checkpoint(good)
    assert read_checkpoint(good, trust=True)["epoch"] == 3


@pytest.mark.parametrize("value", ["", "0"])
def test_the_variable_may_be_off(good: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Empty and 0 mean that it is not set."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
    assert read_checkpoint(good)["epoch"] == 3


def test_hyper_parameters_of_any_kind_can_be_read_back(tmp_path: Path) -> None:
    """What save_hyperparameters keeps becomes plain values in the file; the model keeps its own."""
    model = Line(
        folder=tmp_path,
        color=Color.RED,
        pair=Color.PAIR,
        rate=np.float64(0.5),
        count=np.int32(7),
        flag=np.bool_(True),
        function=len,
        sizes=(1, 2),
        nested={"paths": [tmp_path], 3: None, "weights": torch.ones(2)},
    )
    fit(model, tmp_path / "a.ckpt")
    saved = read_checkpoint(tmp_path / "a.ckpt")["hyper_parameters"]
    assert torch.equal(saved["nested"].pop("weights"), torch.ones(2))
    assert saved == {
        "num_outputs": 1,
        "folder": str(tmp_path),
        "color": "red",
        "pair": "PAIR",
        "rate": 0.5,
        "count": 7,
        "flag": True,
        "function": "<built-in function len>",
        "sizes": [1, 2],
        "nested": {"paths": [str(tmp_path)], "3": None},
    }
    assert model.hparams["folder"] == tmp_path
    assert model.hparams["color"] is Color.RED


def test_of_a_lambda_its_text_is_kept(tmp_path: Path) -> None:
    """A hyper-parameter that cannot be pickled does not keep the checkpoint from being written and read."""
    path = tmp_path / "a.ckpt"
    SafeCheckpointIO().save_checkpoint({"hyper_parameters": {"function": lambda x: x}}, path)
    assert read_checkpoint(path)["hyper_parameters"]["function"].startswith("<function ")


def test_a_checkpoint_with_such_hyper_parameters_gives_its_weights(tmp_path: Path) -> None:
    """The weights of a model with odd hyper-parameters load without trust."""
    model, other = Line(folder=tmp_path, function=len), Line()
    fit(model, tmp_path / "a.ckpt")
    load_weights(other, tmp_path / "a.ckpt")
    assert torch.equal(model.layer.weight, other.layer.weight)


def test_what_is_saved_is_left_as_it_was(tmp_path: Path) -> None:
    """Saving does not change the checkpoint that it was given."""
    checkpoint = {"hyper_parameters": {"folder": tmp_path}, "datamodule_hyper_parameters": {"color": Color.RED}}
    SafeCheckpointIO().save_checkpoint(checkpoint, tmp_path / "new" / "a.ckpt")
    assert checkpoint["hyper_parameters"] == {"folder": tmp_path}
    assert read_checkpoint(tmp_path / "new" / "a.ckpt") == {
        "hyper_parameters": {"folder": str(tmp_path)},
        "datamodule_hyper_parameters": {"color": "red"},
    }


def test_which_checkpoint_a_source_means(tmp_path: Path) -> None:
    """A file is itself; of a run folder it is the best, else the last epoch; the reason is said."""
    folder = RunFolder.create(tmp_path, "Mine")
    name = folder.path.name
    with pytest.raises(CheckpointError, match=r"holds neither checkpoints/best.ckpt nor checkpoints/last\.ckpt"):
        find_checkpoint(folder.path)
    folder.last_checkpoint.touch()
    assert find_checkpoint(folder.path) == (
        folder.last_checkpoint,
        f"the last epoch of {name}, which has no best.ckpt",
    )
    folder.best_checkpoint.touch()
    assert find_checkpoint(folder.path) == (folder.best_checkpoint, f"the best epoch of {name}")
    assert find_checkpoint(folder.last_checkpoint) == (folder.last_checkpoint, "given as src_checkpoint")
    assert find_checkpoint(tmp_path / "latest")[0].samefile(folder.best_checkpoint)
    folder.unlock()


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path that was given is in the message."""
    with pytest.raises(CheckpointError, match=f"no file or run folder {tmp_path / 'nowhere'}"):
        find_checkpoint(tmp_path / "nowhere")


class Named(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        (Line(num_outputs=3), ["size mismatch for layer.weight", "[1, 1]", "[3, 1]"]),
        (Named(), ["Missing key(s)", "other.weight", "Unexpected key(s)", "layer.weight"]),
    ],
)
def test_weights_of_another_model_are_refused(good: Path, model: LightningModule, messages: list[str]) -> None:
    """The message names file, model and what differs, in one line."""
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, good)
    message = str(caught.value)
    assert message.startswith(f"{good} does not fit {type(model).__name__}: ")
    assert all(each in message for each in messages)
    assert "\n" not in message


def test_a_file_without_weights_is_no_checkpoint(tmp_path: Path) -> None:
    """A dictionary that torch saved need not be Lightning's."""
    torch.save({"weights": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is no Lightning checkpoint: it has no state_dict"):
        load_weights(Line(), tmp_path / "a.pt")


def test_a_model_may_change_what_it_loads(good: Path) -> None:
    """configure_model and on_load_checkpoint are called before the weights are put in, strict_loading is obeyed."""

    class Late(LightningModule):
        def configure_model(self) -> None:
            self.renamed = nn.Linear(1, 1)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            weights = checkpoint["state_dict"]
            checkpoint["state_dict"] = {"renamed.weight": weights["layer.weight"], "extra": torch.ones(1)}

    model = Late()
    model.strict_loading = False
    load_weights(model, good)
    assert torch.equal(model.renamed.weight, read_checkpoint(good)["state_dict"]["layer.weight"])


_SAVES_AND_IS_KILLED = """
import itertools, os, random, signal, sys, tempfile, time
from pathlib import Path
import torch
from runner.checkpoints import SafeCheckpointIO, read_checkpoint

def is_torn():
    return any(0 < each.stat().st_size < path.stat().st_size for each in path.parent.glob(f".{path.name}.*.tmp"))

def kill_in_the_middle():
    child = os.fork()
    if child == 0:
        for again in itertools.count():
            SafeCheckpointIO().save_checkpoint({"numbers": numbers, "again": again}, path)
    end = time.monotonic() + 120
    while True:
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        if is_torn():
            break
        assert time.monotonic() < end, "it was never in the middle of a write"
        os.kill(child, signal.SIGCONT)
        time.sleep(random.uniform(0, 0.02))
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert torch.equal(read_checkpoint(path)["numbers"], numbers)
    assert is_torn()
    for rest in path.parent.glob(f".{path.name}.*.tmp"):
        rest.unlink()

path, numbers = Path(sys.argv[1]), torch.arange(2_000_000, dtype=torch.float32)
SafeCheckpointIO().save_checkpoint({"numbers": numbers}, path)
for folder in sys.argv[2:]:
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    assert tempfile.gettempdir() == folder
    kill_in_the_middle()
"""


def test_a_kill_while_saving_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """kill -9 in the middle of a write leaves a whole file, also where temporary files are on another file system."""
    folder, memory = tmp_path / "tmp", Path("/dev/shm")
    folder.mkdir()
    folders = [folder, *([memory] if memory.is_dir() else [])]
    done = subprocess.run(
        [sys.executable, "-c", _SAVES_AND_IS_KILLED, str(tmp_path / "last.ckpt"), *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
