"""Processes for trials: forked from a warm server that has imported what takes long, or fresh for several devices."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

from runner.sweep.point import DEVICES_VARIABLE

PRELOADED = "runner.sweep.preloaded"
"""Module that imports what trials need. It must not import user code, which may change, nor touch a GPU."""


GPU_FOLDER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver tells which GPUs there are."""


@dataclass(frozen=True)
class Slot:
    """A share of the machine for one trial at a time."""

    number: int
    devices: tuple[str, ...]
    """GPUs as CUDA_VISIBLE_DEVICES names them; empty on a machine without."""
    num_devices: int
    """How many devices a trial trains on."""
    threads: int
    """For the CPU work of a trial."""


class Worker(Protocol):
    """A process that works on a trial."""

    pid: int
    sentinel: int
    """File descriptor that becomes readable when the process has ended."""

    def exit_code(self) -> int | None:
        """Return the exit code, minus the signal's number if one ended the process; None while it runs."""

    def close(self) -> None:
        """Give back what the process needed, once it has ended."""


class WarmServer:
    """Starts workers."""

    def __init__(self, threads: int, *packages: str) -> None:
        """Prepare; the server itself starts with the first worker.

        Args:
            threads: How many each worker may use for the CPU.
            *packages: What to import besides.
        """
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read once, when torch is imported
        home = str(Path(__file__).parents[2])
        paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED, *packages])

    def start(self, sweep: Path, number: int, slot: Slot) -> Worker:
        """Start a worker for a trial."""
        if slot.num_devices > 1:  # Lightning starts the other processes with the same command line
            return _FreshWorker(sweep, number, slot)
        return _ForkedWorker(self._context, sweep, number, slot)


class _ForkedWorker:
    def __init__(self, context: ForkServerContext, sweep: Path, number: int, slot: Slot) -> None:
        self._process = context.Process(target=_forked_main, args=(str(sweep), number, slot), name=f"trial {number}")
        with _without_main_module():
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.sentinel = self._process.sentinel

    def exit_code(self) -> int | None:
        return self._process.exitcode

    def close(self) -> None:
        self._process.close()


class _FreshWorker:
    def __init__(self, sweep: Path, number: int, slot: Slot) -> None:
        command = [sys.executable, "-m", "runner", "trial", str(sweep), str(number)]
        environment = os.environ | _environment(slot) | {DEVICES_VARIABLE: str(slot.num_devices)}
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = self._process.pid
        self.sentinel = os.pidfd_open(self.pid)

    def exit_code(self) -> int | None:
        return self._process.poll()

    def close(self) -> None:
        os.close(self.sentinel)


def send(worker: Worker, number: signal.Signals) -> None:
    """Send a signal to a worker; SIGKILL also to the processes that it has started."""
    with suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(worker.pid) == worker.pid:
                    os.killpg(worker.pid, number)
        os.kill(worker.pid, number)


def _forked_main(sweep: str, number: int, slot: Slot) -> None:
    """Work on a trial; runs in the forked process."""
    os.setsid()  # Ctrl-C is for the supervisor, which stops trials in good order
    multiprocessing.set_start_method(None, force=True)  # as in any run: the data loader's workers need not import torch
    os.environ.update(_environment(slot))
    import torch

    from runner.sweep.point import work_on
    from runner.sweep.sweep_folder import SweepFolder

    torch.set_num_threads(slot.threads)
    sys.exit(work_on(SweepFolder(Path(sweep)), number))


def _environment(slot: Slot) -> dict[str, str]:
    values = {"OMP_NUM_THREADS": str(slot.threads)}
    if slot.devices:
        values["CUDA_VISIBLE_DEVICES"] = ",".join(slot.devices)
    return values


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep multiprocessing from importing the user's script into every trial."""
    main = sys.modules["__main__"]
    saved = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in saved:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in saved.items():
            setattr(main, name, value)


def make_slots(workers: int | None, devices_per_trial: int) -> list[Slot]:
    """Return the slots of this machine: one per GPU, or group of GPUs, and without GPUs one per core.

    Args:
        workers: How many; None: as many as fit.
        devices_per_trial: Devices that each trial trains on.
    """
    devices, cores = visible_gpus(), len(os.sched_getaffinity(0))
    fitting = len(devices) // devices_per_trial if devices else cores // devices_per_trial
    count = workers or max(1, fitting)
    threads = _asked_threads() or max(1, cores // (count * devices_per_trial))
    slots = []
    for number in range(count):
        first = number * devices_per_trial
        own = [devices[(first + each) % len(devices)] for each in range(devices_per_trial)] if devices else []
        slots.append(Slot(number, tuple(dict.fromkeys(own)), devices_per_trial, threads))
    return slots


def _asked_threads() -> int:
    """Return the user's own OMP_NUM_THREADS; 0 if there is none."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() else 0


def visible_gpus() -> Sequence[str]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES names them, found without torch."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not GPU_FOLDER.is_dir():
        return []
    if asked is not None:
        return [each.strip() for each in asked.split(",") if each.strip() and each.strip() != "-1"]
    return [str(number) for number in range(len(list(GPU_FOLDER.iterdir())))]
