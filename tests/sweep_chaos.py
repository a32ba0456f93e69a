"""Random kill -9 of supervisors and workers, under clocks that jump, until a sweep is done all the same.

``python -m tests.sweep_chaos [--points=60] [--seconds=300]``; ``test_sweep_chaos.py`` does so shortly. Under faketime
with ``FAKETIME_NO_CACHE=1`` each supervisor has a clock of its own, with its workers. The last line says in JSON how
it went; exits with 1 if a point was not completed exactly once, or has other bits than in an undisturbed sweep.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from runner.sweep.objective_values import read_json
from runner.sweep.sweep_folder import SweepFolder
from tests.faults.programs import Program
from tests.sweep_samples import begun_sweep, fingerprints, run, start, sweeping

CLOCKS = ("-400d", "-1h", "+0", "+2d", "+30s")


class Chaos:
    """Runs a sweep and does it harm."""

    def __init__(self, folder: Path, argv: list[str], seed: int) -> None:
        self.folder = folder
        self._hits: Counter[tuple[object, ...]] = Counter()
        self.kills: Counter[str] = Counter()
        self._argv = argv
        self._random = random.Random(seed)
        self._supervisors: list[Program] = []

    def run(self, seconds: float, least: int = 2) -> SweepFolder:
        """Do harm for so many seconds, and so often to each kind, then let the sweep come to its end; return it."""
        self._start()
        sweep = begun_sweep(self.folder)
        end = time.monotonic() + seconds
        while not self._is_done() and (
            time.monotonic() < end or min(self.kills[kind] for kind in ("supervisor", "worker")) < least
        ):
            time.sleep(self._random.uniform(0.3, 1.5))
            self._harm(sweep)
            while len(self._supervisors) < 2:
                self._start()
        self._start()
        for each in self._supervisors:
            each.wait(600)
        return sweep

    def _start(self) -> None:
        clock = {"FAKETIME": self._random.choice(CLOCKS)} if "FAKETIME" in os.environ else {}
        self._supervisors.append(start(self.folder, self._argv, separate=False, **clock))

    def _is_done(self) -> bool:
        return any(each.exit_code == 0 for each in self._supervisors)

    def _harm(self, sweep: SweepFolder) -> None:
        running = [number for number in sweep.started() - sweep.sealed().keys() if sweep.is_running(number)]
        victim = "worker" if self.kills["worker"] < self.kills["supervisor"] else "supervisor"
        if victim == "worker" and not running:  # they need time to start
            return
        if victim == "supervisor":
            chosen = self._random.choice(self._supervisors)
            self._supervisors.remove(chosen)
            chosen.send(signal.SIGKILL)
            chosen.wait()
        else:
            number = self._random.choice(running)
            status = read_json(sweep.point(number) / "status.json")
            pid, progress = status.get("pid"), (number, status.get("epochs_finished"), len(status.get("phases", ())))
            if pid is None or self._hits[progress] >= 2:  # who dies three times without progress is given up
                return
            self._hits[progress] += 1
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.kills[victim] += 1


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argv = sweeping(
            "--sweep", f"random_seed=1..{arguments.points}", f"--num_epochs={arguments.epochs}", "--pause=0.05"
        )
        run(folder, [*argv, "--output_to=calm"])
        [calm] = [SweepFolder(path) for path in (folder / "calm" / "sweeps").glob("2*")]
        chaos = Chaos(folder, argv, arguments.seed)
        sweep = chaos.run(arguments.seconds)
        states = Counter(sweep.sealed().values())
        is_same = fingerprints(sweep) == fingerprints(calm)
        print(json.dumps({"kills": chaos.kills, "states": states, "same bits": is_same}))
        return 0 if is_same and states == {"completed": arguments.points} else 1


if __name__ == "__main__":
    sys.exit(main())
