"""Many runs: in one process through ``run(...)``, and in one folder by forked processes. Nothing may grow.

Usage: ``python -m tests.benchmarks.soak [--runs=200] [--forked=2000]`` prints memory, file descriptors, threads and the
time that a run takes, in tenths of the way.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.programs import CONTAINERS, Program, start, tiny

SETTINGS: dict[str, Any] = {"num_epochs": 1, "saliency_method": "none", "num_items": 8}


def resident_mib() -> float:
    """Return the memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_one_process(count: int, folder: Path) -> None:
    """Run the guinea pig again and again in this process."""
    from runner import run

    print(f"{count} runs in one process: run, MiB, descriptors, threads, median ms since the line before")
    times: list[float] = []
    for number in range(count):
        started = time.perf_counter()
        run("Tiny", containers=CONTAINERS, output_to=folder, quiet=True, **SETTINGS)
        times.append(time.perf_counter() - started)
        if (number + 1) % max(1, count // 10) == 0:
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            median = 1000 * statistics.median(times)
            print(f"{number + 1:5d} {resident_mib():8.1f} {descriptors:4d} {threading.active_count():4d} {median:8.1f}")
            times.clear()


def in_one_folder(count: int, folder: Path) -> None:
    """Start processes one after the other, two at a time, whose run folders all lie in *folder*."""
    print(f"{count} processes, two at a time, in one folder: run, median ms to its end")
    arguments = tiny(*(f"--{name}={value}" for name, value in SETTINGS.items()), f"--output_to={folder}", "--quiet")
    running: list[tuple[float, Program]] = []
    times: list[float] = []
    for number in range(count):
        running.append((time.perf_counter(), start(folder.parent, *arguments)))
        if len(running) == 2:
            started, program = running.pop(0)
            assert program.wait() == 0
            times.append(time.perf_counter() - started)
            program.output_file.unlink()
        if times and (number + 1) % max(1, count // 10) == 0:
            print(f"{number + 1:5d} {1000 * statistics.median(times):8.1f}")
            times.clear()
    for _, program in running:
        assert program.wait() == 0
    folders = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(folders) == count, len(folders)


def main() -> None:
    """Read the arguments and run both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--forked", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        in_one_process(arguments.runs, Path(name, "one"))
        Path(name, "two").mkdir()
        in_one_folder(arguments.forked, Path(name, "two"))


if __name__ == "__main__":
    main()
