"""What the saliency benchmarks share: CPU seconds of methods that take turns, medians, and tables in Markdown."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def make_parser(description: str | None, rounds: int, cases: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser for ``--rounds``, ``--cases`` and ``--json``.

    Args:
        description: The docstring of the script.
        rounds: How often each method is measured if nothing else is said.
        cases: Names to choose from.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--cases", default=",".join(cases), help="separated by commas")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    return parser


def chosen(names: str, cases: Sequence[str]) -> list[str]:
    """Return the cases whose names are in a list separated by commas.

    Raises:
        SystemExit: there is no such case.
    """
    result = names.split(",")
    if unknown := sorted(set(result) - set(cases)):
        raise SystemExit(f"no case is called {unknown[0]!r}; there are {', '.join(cases)}")
    return result


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of *work*, those of its child processes included.

    Other than the time on the clock, they hardly grow when the machine does something else as well.
    """
    started = _cpu_time()
    work()
    return _cpu_time() - started


def take_turns(methods: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each method in each round, after one call that does not count.

    Every other round goes backwards, so that no method always follows the same one.
    """
    for work in methods.values():
        work()
    seconds: dict[str, list[float]] = {name: [0.0] * rounds for name in methods}
    for number in range(rounds):
        for name in list(methods)[:: 1 if number % 2 == 0 else -1]:
            seconds[name][number] = cpu_seconds(methods[name])
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], first: str, second: str) -> float:
    """Return the median of the ratios of two methods in each round."""
    return statistics.median(a / b for a, b in zip(seconds[first], seconds[second], strict=True))


def silence() -> None:
    """Keep what Lightning says about itself out of the output."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for module in ("pytorch_lightning", "torch.utils.data"):
        warnings.filterwarnings("ignore", module=module)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table in Markdown; numbers with three digits that count."""
    print()
    for row in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(_text(cell) for cell in row) + " |", flush=True)


def write_json(path: Path | None, numbers: Any) -> None:
    """Write the numbers to a file, if there is one."""
    if path is not None:
        path.write_text(json.dumps({"torch": torch.__version__, "numbers": numbers}, indent=1))


def _cpu_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _text(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
