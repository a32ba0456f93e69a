"""The program in processes of its own, forked from a server that has torch already: a tenth of a second each."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CONTAINERS = REPOSITORY / "tests" / "containers"
FAKE_CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
"""Gives processes the clock that FAKETIME says, preloaded; its own command leaves semaphores where it is killed."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["runner.sweep.preloaded"])


class Program:
    """A running ``python runner.py ...``."""

    def __init__(
        self, folder: Path, argv: tuple[str, ...], environment: Mapping[str, str], first: Any, separate: bool = False
    ) -> None:
        self.output_file = folder / f"output-{time.monotonic_ns()}.txt"
        self.errors_file = self.output_file.with_suffix(".err") if separate else self.output_file
        files = (str(self.output_file), str(self.errors_file))
        self._process: BaseProcess = _CONTEXT.Process(
            target=_main, args=(str(folder), argv, dict(environment), files, first)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def wait(self, seconds: float = 300) -> int:
        """Return the exit code; minus the signal's number if one ended it."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end within {seconds} s\n{self.output}")
        return code

    def send(self, number: int) -> None:
        """Send a signal to it and what it has started, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    @property
    def is_running(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """Minus the signal's number if one ended it; None while it runs."""
        return self._process.exitcode

    @property
    def alive(self) -> list[int]:
        """The processes of it and of what it has started, without those that have ended and wait for their parent."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                number, rest = path.read_text().split(" (", 1)
                state, _, group = rest.rpartition(") ")[2].split()[:3]
                if int(group) == self.pid and state != "Z":
                    found.append(int(number))
        return found

    @property
    def output(self) -> str:
        return self.output_file.read_text(errors="backslashreplace") if self.output_file.is_file() else ""

    @property
    def errors(self) -> str:
        """What it said to stderr, where that is separate."""
        return self.errors_file.read_text(errors="backslashreplace") if self.errors_file.is_file() else ""


def _main(
    folder: str,
    argv: tuple[str, ...],
    environment: dict[str, str],
    files: tuple[str, str],
    first: Callable[[], None] | None,
) -> None:
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # ours is not that of the program
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for standard, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), standard)
    os.environ.update(environment)
    time.tzset()
    sys.argv = [str(REPOSITORY / "runner.py"), *argv]
    if first is not None:
        first()
    from runner.cli import console_main

    console_main()


def start(folder: Path, *argv: str, first: Any = None, separate: bool = False, **environment: str) -> Program:
    """Start the program with ``--containers`` of the tests, where that applies.

    Args:
        folder: Working directory.
        *argv: Its arguments.
        first: Called in the process before anything else.
        separate: Keep what it says to stderr apart.
        **environment: Variables for it.
    """
    return Program(folder, argv, environment, first, separate)


def tiny(*argv: str, model: str = "Tiny") -> tuple[str, ...]:
    """Return the arguments that run the guinea pig of the faults."""
    return (f"--model={model}", f"--containers={CONTAINERS}", "--deterministic=True", *argv)


def run(folder: Path, *argv: str, code: int = 0, first: Any = None, seconds: float = 300, **environment: str) -> str:
    """Run the program to its end and return what it printed; it must end with *code*."""
    program = start(folder, *argv, first=first, separate=False, **environment)
    found = program.wait(seconds)
    assert found == code, f"exit code {found}, not {code}\n{program.output}"
    return program.output


def run_folder(folder: Path) -> Path:
    """Return the one run folder below *folder*/outputs."""
    [found] = [path for path in (folder / "outputs").glob("2*") if (path / "status.json").is_file()]
    return found


def status(run: Path) -> dict[str, Any]:
    """Return status.json."""
    found: dict[str, Any] = json.loads((run / "status.json").read_text())
    return found


def waiting_run(folder: Path) -> Path:
    """Return the one run folder below *folder*/outputs as soon as the guinea pig waits in it; see ``--fault=waits``."""
    found: Path = wait_for(lambda: run_folder(folder))
    wait_for((found / "waits").is_file)
    return found


def let_go_on(run: Path) -> None:
    """Let a guinea pig go on that waits, and wait no more in later attempts."""
    (run / "go on").touch()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what *condition* returns as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError, ValueError, KeyError):
            value = condition()
            if value:
                return value
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def fingerprint(run: Path) -> dict[str, str]:
    """Return what must be the same however often a run was interrupted: weights, metrics and maps, by their digests."""
    import torch

    found = {}
    for path in sorted((run / "checkpoints").glob("*.ckpt")):
        weights = torch.load(path, weights_only=True)["state_dict"]
        content = b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(weights.items()))
        found[path.name] = hashlib.sha256(content).hexdigest()
    for name in ("metrics.csv", "saliency/index.csv"):
        if (run / name).is_file():
            found[name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    for path in sorted((run / "saliency").glob("maps/*")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    results = json.loads((run / "results.json").read_text())
    found["results"] = json.dumps({phase: each["metrics"] for phase, each in results.items()}, sort_keys=True)
    return found
