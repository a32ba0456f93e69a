"""The lower half of the report: parameters, time and memory, warnings, files."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.number_text import format_seconds
from runner.reports.log_records import LogRecord
from runner.reports.record import RunRecord, number_or_nan
from runner.shown import format_number

MOST_LINES = 40
"""Of the log."""

MOST_WARNINGS = 50

MOST_PARAMETERS = 1000
"""More are only in config.yaml."""

MOST_FILES = 12
"""Of a folder below the run folder; more are one row."""

PHASES = ("train", "test", "inference", "saliency")


def parameters(record: RunRecord) -> dict[str, Any]:
    """Return the parameters that somebody set, and all of them by group."""
    changed = [each for _, group in record.parameters for each in group if each.is_changed]
    changed.sort(key=lambda each: each.origin == "container")  # what the user set for this run comes first
    groups, room = [], MOST_PARAMETERS
    for title, group in record.parameters:
        groups += [(title, group[:room])] if room else []
        room -= len(group[:room])
    left_out = sum(len(group) for _, group in record.parameters) - MOST_PARAMETERS
    return {"changed": changed[:MOST_PARAMETERS], "groups": groups, "left_out": max(left_out, 0)}


@dataclass(frozen=True)
class PhaseRow:
    """Time and memory of one phase."""

    name: str
    state: str
    seconds: str
    share: float
    """Of the time of all phases, 0 to 1."""
    throughput: str
    memory: str
    gpu_memory: str
    reason: str


def phases(record: RunRecord) -> list[PhaseRow]:
    """Return a row per phase that was reached."""
    found = record.status.get("phases")
    outcomes = {name: each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}
    names = [*(name for name in PHASES if name in outcomes), *(name for name in outcomes if name not in PHASES)]
    total = sum(max(_seconds(each), 0) for each in outcomes.values()) or 1.0
    return [_phase(record, name, outcomes[name], total) for name in names]


def _seconds(outcome: Mapping[str, Any]) -> float:
    seconds = number_or_nan(outcome.get("seconds"))
    return seconds if math.isfinite(seconds) else 0.0


def _phase(record: RunRecord, name: str, outcome: Mapping[str, Any], total: float) -> PhaseRow:
    seconds, state = _seconds(outcome), str(outcome.get("state", ""))
    return PhaseRow(
        name,
        state,
        format_seconds(seconds) if state == "completed" else "",
        seconds / total,
        _throughput(record, name, seconds) if state == "completed" and seconds > 0 else "",
        size_text(outcome.get("peak_memory")),
        size_text(outcome.get("peak_gpu_memory")),
        str(outcome.get("reason", "")),
    )


def _throughput(record: RunRecord, phase: str, seconds: float) -> str:
    """Return how much of its work a phase did in a second, over its whole time."""
    results, metrics = record.results.get(phase, {}), record.metrics_of(phase)
    counts = {"steps": results.get("steps"), "items": results.get("num_items"), "images": metrics.get("num_images")}
    rates = {unit: number_or_nan(count) / seconds for unit, count in counts.items()}
    masks = metrics.get("num_masks", math.nan) * metrics.get("num_images", math.nan) / seconds
    return ", ".join(f"{format_rate(rate)} {unit}/s" for unit, rate in (rates | {"masks": masks}).items() if rate > 0)


def format_rate(rate: float) -> str:
    """Write a rate in three digits: ``0.213``, ``42.1``, ``3,210``."""
    return f"{rate:,.0f}" if rate >= 100 else format_number(float(f"{rate:.3g}"))


def size_text(size: Any) -> str:
    """Write a number of bytes as ``3.2 MB``; nothing for what is no number."""
    number = number_or_nan(size)
    if not math.isfinite(number):
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 999.5:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def log(record: RunRecord) -> dict[str, Any]:
    """Return the different warnings with how often each came, and the last lines of the log."""
    counts = Counter((each.level, each.phase, each.text) for each in record.log if each.is_warning)
    shown = [(each, line) for each in record.log[-400:] if each.is_own for line in _lines(each)][-MOST_LINES:]
    foreign = [each for each in record.log if each.is_of_library]
    is_below = any(each.is_of_library for each, _ in shown)
    return {
        "foreign": ("the log below" if is_below else "run.log") if foreign else "",
        "warnings": [
            {"level": level, "phase": phase, "text": text, "count": count}
            for (level, phase, text), count in counts.most_common()[:MOST_WARNINGS]
        ],
        "left_out": max(len(counts) - MOST_WARNINGS, 0),
        "lines": [line for _, line in shown],
        "problems": record.problems,
    }


def _lines(record: LogRecord) -> list[str]:
    first, *rest = record.text.splitlines() or [""]
    rest = [] if record.traceback else rest  # which stands at the top of the page
    return [f"{record.time.rpartition('T')[2]} {record.level:7} {first}", *(f"         {each}" for each in rest)]


@dataclass(frozen=True)
class FileRow:
    """A file, or a folder of many."""

    name: str
    link: str
    size: str
    digest: str
    """The first digits of its sha256."""
    count: int
    """Files in the folder; 0 for a file."""


def files(record: RunRecord, digests: Mapping[str, str]) -> list[FileRow]:
    """Return the files with a digest, those of large folders together.

    Args:
        record: The run.
        digests: The sha256 of files, by their names in the run folder.
    """
    folders = Counter(str(Path(name).parent) for name in digests)
    rows: list[FileRow] = []
    for folder, names in itertools.groupby(sorted(digests, key=_place), key=lambda name: str(Path(name).parent)):
        found = list(names)
        if folder != "." and folders[folder] > MOST_FILES:
            total = sum(_size(record, name) for name in found)
            rows.append(FileRow(f"{folder}/", _link(f"{folder}/"), size_text(total), "", len(found)))
        else:
            rows += [FileRow(each, _link(each), size_text(_size(record, each)), digests[each], 0) for each in found]
    return rows[:200]


def _place(name: str) -> tuple[str, str]:
    folder = str(Path(name).parent)
    return ("" if folder == "." else folder, name)


def _link(name: str) -> str:
    return "./" + quote(name, errors="replace")


def _size(record: RunRecord, name: str) -> int:
    try:
        return (record.folder.path / name).stat().st_size
    except OSError:
        return 0
