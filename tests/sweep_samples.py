"""Sweeps in processes of their own, for the tests that kill them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from runner.sweep.sweep_folder import SweepFolder, sweeps_in
from tests.faults import programs, warm_children
from tests.faults.programs import Program

REPOSITORY = Path(__file__).parents[1]
CONTAINERS = REPOSITORY / "tests" / "containers"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def command(*argv: str) -> list[str]:
    """Return a command line of the program."""
    return [sys.executable, str(REPOSITORY / "runner.py"), *argv]


def sweeping(*argv: str, model: str = "Sweeping") -> list[str]:
    """Return the program's arguments for a sweep of the guinea pig."""
    return [f"--model={model}", f"--containers={CONTAINERS}", *argv]


def run(folder: Path, argv: Sequence[str], code: int = 0) -> str:
    """Run the program in *folder* to its end; return what it printed to stdout, or to stderr if it is to fail."""
    program = start(folder, argv, separate=True)
    found = program.wait(300)
    assert found == code, f"{found}\n{program.output}\n{program.errors}"
    return program.output if code == 0 else program.errors


def run_command(folder: Path, argv: Sequence[str], code: int = 0) -> str:
    """Do the same with a command line, that of :func:`command` or one that begins with another program."""
    done = subprocess.run(argv, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def start(folder: Path, argv: Sequence[str], *, separate: bool = False, **environment: str) -> Program:
    """Start the program in *folder*, with a server for its workers that has torch already."""
    environment |= {"OMP_NUM_THREADS": "1"}
    return programs.start(folder, *argv, first=partial(warm_children.prepare, 2), separate=separate, **environment)


def only_sweep(folder: Path) -> SweepFolder:
    """Return the one sweep there is."""
    [found] = sweeps_in(folder / "outputs")
    return found


def begun_sweep(folder: Path) -> SweepFolder:
    """Return the one sweep there is as soon as it is there."""
    return cast(SweepFolder, wait_until(lambda: next(iter(sweeps_in(folder / "outputs")), None)))


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what *condition* returns as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def results(sweep: SweepFolder) -> dict[int, dict[str, Any]]:
    """Return the sealed results by number."""
    return {number: sweep.read_result(number, state) for number, state in sorted(sweep.sealed().items())}


def attempts(sweep: SweepFolder, number: int) -> int:
    """Return how often a trial was begun."""
    return int(json.loads(sweep.attempts(number).read_text())["attempts"])


def fingerprints(sweep: SweepFolder) -> dict[int, tuple[Any, ...]]:
    """Return what must be the same for each trial however often it was killed: metrics and the rows of epochs."""
    found = {}
    for number, body in results(sweep).items():
        rows = (sweep.point(number) / "metrics.csv").read_text()
        found[number] = (body["state"], json.dumps(body["metrics"], sort_keys=True), rows)
    return found
