"""How long ``runs`` takes with 10,000 run folders: without an index, with one, and when one run is new.

``python -m tests.benchmarks.runs_listing`` makes the folders in a temporary place (120 MB). Reported are medians over
whole processes, imports and printing included; *reading every folder* is the same command where no index can be
written, which is what a listing costs that keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runner.browser.index import INDEX

CONFIG = '# Model{kind}: a model\nmodel: "Model{kind}"\n\n# --- Parameters ---\nl_rate: {l_rate!r}  # command line\n'
REPOSITORY = Path(__file__).parents[2]


def make_runs(outputs: Path, number: int) -> None:
    """Write run folders as real ones are: 110 parameters, 4 metrics of training, 2 of the test, 16 of the maps."""
    values = random.Random(0)
    defaults = "".join(f"parameter_{each}: {each / 7!r}  # default\n" for each in range(109))
    long_ago = time.time() - 1000
    for run in range(number):
        folder = outputs / f"2026-{1 + run // 2500:02d}-01T{run % 2500:06d}Z_Model{run % 5}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(CONFIG.format(kind=run % 5, l_rate=10 ** values.uniform(-4, -1)) + defaults)
        status = {"model": f"Model{run % 5}", "state": "completed", "phase": "end", "epochs_finished": 10}
        status |= {"phases": {"train": {"state": "completed", "seconds": 12.5}}, "exit_reason": "done"}
        (folder / "status.json").write_text(json.dumps(status, indent=2))
        sizes = {"train": 4, "test": 2, "saliency": 16}
        results = {
            phase: {"metrics": {f"{phase}_{each}": values.random() for each in range(size)}}
            for phase, size in sizes.items()
        }
        (folder / "results.json").write_text(json.dumps(results, indent=2))
        os.utime(folder, (long_ago, long_ago))
        for file in folder.iterdir():
            os.utime(file, (long_ago, long_ago))


def seconds(outputs: Path, *options: str, rounds: int = 1) -> str:
    """Run the command in processes of their own; return the medians of wall clock and CPU seconds."""
    command = [sys.executable, str(REPOSITORY / "runner.py"), "runs", f"--output_to={outputs}", *options]
    walls, cpus = [], []
    for _ in range(rounds):
        started, before = time.perf_counter(), cpu_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "120"})
        walls.append(time.perf_counter() - started)
        cpus.append(cpu_seconds() - before)
    return f"{statistics.median(walls):.2f} s, {statistics.median(cpus):.2f} CPU s"


def cpu_seconds() -> float:
    """Return what all processes that have ended so far took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    outputs, rounds = Path(tempfile.mkdtemp()), arguments.rounds
    try:
        make_runs(outputs, arguments.runs)
        index = outputs / INDEX
        where = "--where=l_rate < 0.01 and model == 'Model3' and test_0 > 0.9"
        index.mkdir()  # so that none can be written
        print(f"reading every folder: {seconds(outputs, rounds=2)}")
        index.rmdir()
        print(f"cold, which writes the index: {seconds(outputs)}")
        print(f"warm: {seconds(outputs, rounds=rounds)}")
        print(f"warm with --where: {seconds(outputs, where, rounds=rounds)}")
        print(f"warm with --sort: {seconds(outputs, '--sort=-test_0', rounds=rounds)}")
        shutil.rmtree(min(each for each in outputs.iterdir() if each.is_dir()))
        print(f"one run is gone: {seconds(outputs)}")
        print(f"of which start and imports: {seconds(outputs / 'nowhere', rounds=rounds)}")
        print(f"the index has {index.stat().st_size / 1e6:.1f} MB")
    finally:
        shutil.rmtree(outputs)


if __name__ == "__main__":
    main()
