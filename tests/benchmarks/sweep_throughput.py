"""Tiny trials per minute: a sweep of ours beside fresh processes and Hydra's launchers.

    pip install hydra-core hydra-joblib-launcher
    OMP_NUM_THREADS=1 python -m tests.benchmarks.sweep_throughput [--trials=16] [--workers=2] [--rounds=2]

The same network, data and Trainer settings everywhere (a regression of a line, 10 batches per epoch, 2 epochs, no
saliency). "fresh" is ``xargs -P`` over ``python runner.py``, "bare fresh" over a plain Lightning script, "hydra basic"
and "hydra joblib" run that script's function under Hydra. Seconds are on the clock, CPU seconds those of all processes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
REPOSITORY = Path(__file__).parents[2]

SCRIPT = """
import sys
import torch, pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset

class Line(pl.LightningModule):
    def __init__(self, l_rate):
        super().__init__()
        self.l_rate = l_rate
        self.layer = torch.nn.Linear(1, 1)
    def loss(self, batch, name):
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log(name, loss, on_epoch=True, on_step=False)
        return loss
    def training_step(self, batch, _): return self.loss(batch, "train_loss")
    def validation_step(self, batch, _): self.loss(batch, "val_loss")
    def test_step(self, batch, _): self.loss(batch, "test_loss")
    def configure_optimizers(self): return torch.optim.Adam(self.parameters(), lr=self.l_rate)

def loader():
    x = torch.linspace(-1, 1, 80)[:, None]
    return DataLoader(TensorDataset(x, 2 * x + 1), batch_size=8)

def work(l_rate):
    pl.seed_everything(42)
    model = Line(l_rate)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
                         enable_model_summary=False, default_root_dir=".")
    trainer.fit(model, loader(), loader())
    trainer.test(model, loader(), verbose=False)
"""
BARE = SCRIPT + "\nwork(float(sys.argv[1]))\n"
HYDRA = (
    SCRIPT
    + """
import hydra
@hydra.main(version_base=None, config_path=None, config_name="config")
def main(config): work(config.l_rate)
from hydra.core.config_store import ConfigStore
ConfigStore.instance().store(name="config", node={"l_rate": 0.1})
main()
"""
)
CONTAINER = "from runner import LightningContainer\n" + '''
class Tiny(LightningContainer):
    """A line through points."""
    def __init__(self):
        super().__init__()
        self.num_epochs = 2
        self.accelerator = "cpu"
        self.logger = []
    def create_model(self):
        from .parts import Line
        return Line(self.l_rate)
    def get_data_module(self):
        from pytorch_lightning import LightningDataModule
        from .parts import loader
        return LightningDataModule.from_datasets(*[loader().dataset] * 2, test_dataset=loader().dataset, batch_size=8)
'''  # fmt: skip


def commands(folder: Path, trials: int, workers: int) -> dict[str, list[str]]:
    """Return the command line of each way to run the trials."""
    rates = [f"{0.01 * (each + 1):g}" for each in range(trials)]
    program, python = str(REPOSITORY / "runner.py"), sys.executable
    listed = "\\n".join(rates)
    fresh = f"printf '{listed}\\n' | xargs -P{workers} -I@ {python}"
    return {
        "sweep": [python, program, "--model=Tiny", "--sweep", f"l_rate={','.join(rates)}", f"--workers={workers}",
                  "--new", "--quiet"],
        "fresh": ["sh", "-c", f"{fresh} {program} --model=Tiny --l_rate=@ --quiet"],
        "bare fresh": ["sh", "-c", f"{fresh} bare.py @"],
        "hydra basic": [python, "app.py", "-m", f"l_rate={','.join(rates)}"],
        "hydra joblib": [python, "app.py", "-m", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}",
                         f"l_rate={','.join(rates)}"],
    }  # fmt: skip


def prepare(folder: Path) -> None:
    """Write the scripts and the container."""
    (folder / "containers").mkdir()
    (folder / "containers" / "tiny.py").write_text(CONTAINER)
    (folder / "containers" / "parts.py").write_text(SCRIPT)
    (folder / "bare.py").write_text(BARE)
    (folder / "app.py").write_text(HYDRA)


def timed(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the seconds on the clock and the CPU seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(argv, cwd=folder, env=environment, check=True, capture_output=True)
    clock = time.monotonic() - started
    with suppress(ChildProcessError):
        while True:  # servers that outlive their parent have become ours
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", default="sweep,fresh,bare fresh,hydra basic,hydra joblib", help="separated by commas")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        ways = commands(folder, arguments.trials, arguments.workers)
        ways = {way: argv for way, argv in ways.items() if way in arguments.ways.split(",")}
        measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, argv in ways.items():
                measured[way].append(timed(argv, folder))
    ours = statistics.median(clock for clock, _ in measured["sweep"]) if "sweep" in measured else float("nan")
    print(
        "| way | seconds | trials per minute | CPU s per trial | sweep is faster by |\n| --- | --- | --- | --- | --- |"
    )
    for way, pairs in measured.items():
        clock, cpu = (statistics.median(each) for each in zip(*pairs, strict=True))
        rate = 60 * arguments.trials / clock
        print(f"| {way} | {clock:.1f} | {rate:.0f} | {cpu / arguments.trials:.2f} | {clock / ours:.1f} |")


if __name__ == "__main__":
    main()
