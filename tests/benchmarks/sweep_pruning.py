"""How many epochs pruners save on HelloLesion, and what that costs.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.sweep_pruning [--trials=24] [--epochs=8]

The same random settings each time (learning rate from 1e-5 to 1, channels, layers), without a pruner and with each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from runner.sweep.history import History
from runner.sweep.plan import SweepPlan
from runner.sweep.sweep_folder import SweepFolder
from runner.sweep.trials import best_trials

REPOSITORY = Path(__file__).parents[2]

SWEEP = """
parameters: {{l_rate: "log(1e-5,1)", num_channels: [4, 8], num_layers: "2..4"}}
overrides: {{num_epochs: {epochs}, saliency_method: none, num_patches: 400}}
sampler: random
num_trials: {trials}
metric: val_loss
direction: minimize
{pruner}
"""
PRUNERS = {
    "none": "",
    "median": "pruner: {name: median, n_startup_trials: 4}",
    "asha": "pruner: {name: asha}",
    "late asha": "pruner: {name: asha, min_resource: 2, reduction_factor: 2}",
    "hyperband": "pruner: {name: hyperband, min_resource: 1, reduction_factor: 3}",
}


def sweep(folder: Path, text: str) -> tuple[int, float, dict[str, int]]:
    """Run a sweep; return the epochs that were trained, the best value, and the states."""
    (folder / "sweep.yaml").write_text(text)
    command = [sys.executable, str(REPOSITORY / "runner.py"), "--model=HelloLesion", "--sweep=sweep.yaml", "--quiet",
               f"--containers={REPOSITORY / 'containers'}", "--new"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    found = SweepFolder(max((folder / "outputs" / "sweeps").glob("2*")))
    history = History(found, SweepPlan.of(found))
    history.refresh()
    trials = history.results()
    [best] = best_trials(trials, history.plan.objectives)
    assert best.values is not None
    states = [trial.state for trial in trials]
    return sum(trial.epoch for trial in trials), best.values[0], {each: states.count(each) for each in set(states)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pruners", default=",".join(PRUNERS))
    arguments = parser.parse_args()
    print("| pruner | epochs | of all | best val_loss | states |\n| --- | --- | --- | --- | --- |")
    for name in arguments.pruners.split(","):
        with tempfile.TemporaryDirectory() as folder:
            text = SWEEP.format(epochs=arguments.epochs, trials=arguments.trials, pruner=PRUNERS[name])
            epochs, best, states = sweep(Path(folder), text)
        part = epochs / (arguments.trials * arguments.epochs)
        print(f"| {name} | {epochs} | {part:.2f} | {best:.4g} | {states} |", flush=True)


if __name__ == "__main__":
    main()
