"""run() on several devices: in processes of its own, with classes that only the caller has."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.programs import run_folder, status, wait_for

REPOSITORY = Path(__file__).parents[1]

CALLER = """
import sys, torch, param
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset
from runner import LightningContainer, run

SIZE = 8

class Net(LightningModule):
    def __init__(self, container):
        super().__init__()
        self.layer = torch.nn.Linear(SIZE * SIZE, 2)
        self.container = container
    def forward(self, images):
        return self.layer(images.flatten(1))
    def training_step(self, batch, index):
        if self.container.fails:
            raise ValueError("mine: " + "x" * 3)
        if self.container.slow:
            import time
            time.sleep(0.2)
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss
    def test_step(self, batch, index):
        self.log("test_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Data(LightningDataModule):
    def train_dataloader(self):
        images = torch.rand(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(images, torch.arange(8) % 2), batch_size=2)
    test_dataloader = train_dataloader

class Mine(LightningContainer):
    fails = param.Boolean(default=False, doc="Whether the training raises.")
    slow = param.Boolean(default=False, doc="Whether it takes long.")
    def create_model(self):
        return Net(self)
    def get_data_module(self):
        return Data()

TWO = {"devices": 2, "accelerator": "cpu", "strategy": "ddp", "num_epochs": 1, "logger": []}
"""


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a caller, as a notebook: code that lies in no file."""
    return subprocess.Popen(
        [sys.executable, "-c", CALLER + code], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def test_again_and_again(tmp_path: Path) -> None:
    """A run of a class of the caller and an exception of its own code; then a run in the caller's process."""
    program = start(tmp_path, """
first = run(Mine, **TWO)
try:
    run(Mine, fails=True, quiet=True, **TWO)
except ValueError as error:
    print("raised", error)
alone = run(Mine, quiet=True, **TWO | {"devices": 1})
print("alone", "test_loss" in alone.metrics, alone.folder != first.folder, sorted(first.phases))
""")  # fmt: skip
    output = program.communicate(timeout=240)[0]
    assert program.returncode == 0, output
    assert "epoch 1/1  train_loss" in output
    assert "raised mine: xxx" in output
    assert "alone True True ['inference', 'saliency', 'test', 'train']" in output
    assert "litlogger" not in output


@pytest.mark.parametrize("how", ["Ctrl-C", "the caller is killed"])
def test_the_run_ends_with_the_caller(how: str, tmp_path: Path) -> None:
    """Ctrl-C reaches the run, which ends in good order; so it does when the notebook's kernel is killed."""
    program = start(tmp_path, "run(Mine, slow=True, **TWO | {'num_epochs': 500})")
    folder = wait_for(lambda: run_folder(tmp_path), seconds=120)
    wait_for(lambda: status(folder)["epochs_finished"] >= 1, seconds=120)
    program.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
    output = program.communicate(timeout=120)[0]
    wait_for(lambda: status(folder)["state"] == "interrupted")
    assert ("KeyboardInterrupt" in output) == (how == "Ctrl-C")
    number = "SIGINT" if how == "Ctrl-C" else "SIGTERM"
    assert status(folder)["exit_reason"] == f"stopped by {number}"
    time.sleep(0.1)
    assert (folder / "checkpoints" / "last.ckpt").is_file()


def test_what_is_wrong_is_told_before_anything_starts(tmp_path: Path) -> None:
    """As for one device."""
    program = start(tmp_path, "run(Mine, **TWO | {'num_epochs': -3})")
    output = program.communicate(timeout=120)[0]
    assert program.returncode == 1
    assert "num_epochs" in output
    assert not (tmp_path / "outputs").exists()
