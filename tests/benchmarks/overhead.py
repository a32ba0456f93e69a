"""What the runner costs on top of a bare Lightning script that does the same fit.

Run it: ``python tests/benchmarks/overhead.py [--epochs=60] [--rounds=5]``. Both programs run in turn, in processes of
their own, on one thread; the bare script logs to CSV and keeps the last and the best checkpoint, as the runner does,
and shows nothing.
Printed are medians and the median of the ratios of each round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BARE = """
import sys
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from containers.step_cost import Clock, Images, Net
seed_everything(42, workers=True)
checkpoint = ModelCheckpoint("checkpoints", monitor="val_loss", save_last=True)
callbacks = [Clock(), checkpoint]
trainer = Trainer(max_epochs=int(sys.argv[1]), num_sanity_val_steps=0, logger=CSVLogger("."), callbacks=callbacks,
                  enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Net(), datamodule=Images())
"""


def measure(argv: list[str]) -> tuple[float, float]:
    """Return the wall seconds of the whole process and of one training step."""
    with tempfile.TemporaryDirectory() as folder:
        steps = Path(folder) / "step_seconds"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(REPOSITORY)]),
            "OMP_NUM_THREADS": "1",
            "STEP_COST_FILE": str(steps),
        }
        started = time.perf_counter()
        subprocess.run(
            argv, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return time.perf_counter() - started, float(json.loads(steps.read_text()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    epochs = str(options.epochs)
    bare = [sys.executable, "-c", BARE, epochs]
    ours = [sys.executable, str(REPOSITORY / "runner.py"), "--model=StepCost", f"--containers={HERE / 'containers'}"]
    ours += [f"--num_epochs={epochs}", "--logger="]
    rounds = [(measure(bare), measure(ours)) for _ in range(options.rounds)]
    for index, name in enumerate(("whole process", "training step")):
        base = statistics.median(each[0][index] for each in rounds)
        runner = statistics.median(each[1][index] for each in rounds)
        ratio = statistics.median(each[1][index] / each[0][index] for each in rounds)
        print(f"{name}: bare {base:.4f} s, runner {runner:.4f} s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
