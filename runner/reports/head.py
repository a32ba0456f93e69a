"""The top of the report: which run it was, how it ended, and the numbers one looks for first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runner.metric_modes import mode_of
from runner.number_text import format_seconds
from runner.reports.curves import best_of
from runner.reports.log_records import users_part
from runner.reports.record import RunRecord, mapping, number_or_nan
from runner.run_record import resume_command
from runner.shown import format_number

MOST_CARDS = 10

NAMED_PACKAGES = ("torch", "pytorch-lightning", "xaitk-saliency", "numpy")
"""Whose versions stand at the top; all others are below."""


@dataclass(frozen=True)
class Card:
    """One number with what it means."""

    name: str
    value: str
    note: str = ""
    is_main: bool = False


def head(record: RunRecord, written: datetime | None = None) -> dict[str, Any]:
    """Return what stands at the top.

    Args:
        record: The run.
        written: When the page is written; now by default.
    """
    environment, status = record.environment, record.status
    git, packages = mapping(environment.get("git")), mapping(environment.get("packages"))
    return {
        "model": str(status.get("model") or record.folder.path.name),
        "name": record.folder.path.name,
        "state": record.state,
        "attempts": status.get("attempts", 1),
        "started": str(status.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        "seconds": _seconds(status.get("uptime_seconds")),
        "written": f"{written or datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "device": _device(environment),
        "python": str(environment.get("python", "")),
        "version": str(environment.get("version", "")),
        "packages": [(name, str(packages[name])) for name in NAMED_PACKAGES if name in packages],
        "commit": str(git.get("commit") or ""),
        "branch": str(git.get("branch") or ""),
        "is_dirty": bool(git.get("dirty")),
        "has_diff": record.folder.diff.is_file(),
        "has_git": "commit" in git,
        "end": _end(record),
    }


def cards(record: RunRecord) -> list[Card]:
    """Return the cards, the main metric first."""
    found = [*_measured(record), *_saliency(record), *_model(record)]
    return found[:MOST_CARDS]


def _end(record: RunRecord) -> dict[str, str] | None:
    """Return how a run that did not come to its end ended; None for others."""
    status, state = record.status, record.state
    if state in ("completed", "running", "queued"):
        return None
    said = {"failed": "It failed", "interrupted": "It was stopped", "killed": "It was killed"}.get(state, "It ended")
    traces = [each.traceback for each in record.log if each.traceback]
    trace = traces[-1] if traces and state == "failed" else ""
    return {
        "what": f"{said} in phase {status.get('phase', 'unknown')}.",
        "reason": str(status.get("exit_reason") or ""),
        "traceback": users_part(trace),
        "whole_traceback": trace,
        "resume": resume_command(record.folder),
    }


def _device(environment: Mapping[str, Any]) -> str:
    gpus, threads = environment.get("gpus"), mapping(environment.get("torch")).get("num_threads")
    if isinstance(gpus, list) and gpus:
        return f"{len(gpus)} x {gpus[0]}" if gpus[1:] else str(gpus[0])
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}" if threads else "CPU"


def _seconds(value: Any) -> str:
    seconds = number_or_nan(value)
    return format_seconds(seconds) if math.isfinite(seconds) else ""


def _measured(record: RunRecord) -> Iterator[Card]:
    """Yield the metrics of the evaluation with their intervals, then those of the test; else those of training."""
    evaluation = record.evaluation
    intervals = mapping(evaluation.get("intervals"))
    main, known = str(evaluation.get("main", "")), set()
    for name in sorted(intervals, key=lambda name: name != main):
        if isinstance(intervals[name], dict):
            known.add(name.lower())
            yield _with_interval(name, intervals[name], evaluation, is_main=name == main)
    calibration = evaluation.get("calibration")
    if isinstance(calibration, dict) and math.isfinite(ece := number_or_nan(calibration.get("ece"))):
        known.add("ece")
        yield Card("calibration error (ECE)", format_number(ece), "0 is best")
    phase = next((each for each in ("test", "inference", "train") if record.metrics_of(each)), "")
    shown = [(name, value) for name, value in record.metrics_of(phase).items() if not _is_known(name, known)]
    shown.sort(key=lambda each: mode_of(each[0]) != "max")  # an accuracy tells more than a loss
    items = record.results.get(phase, {}).get("num_items")
    for name, value in shown[: 1 if known else 3]:
        yield Card(name, format_number(value), f"n = {items}" if isinstance(items, int) else phase)


def _is_known(name: str, known: set[str]) -> bool:
    """Tell whether a logged metric is one of the evaluation's: ``test_acc`` is its ``accuracy``."""
    word = name.lower().removeprefix("test_")
    return word in known or (word == "acc" and "accuracy" in known)


def _with_interval(name: str, found: Mapping[str, Any], evaluation: Mapping[str, Any], *, is_main: bool) -> Card:
    value, low, high = (number_or_nan(found.get(each)) for each in ("value", "low", "high"))
    level, note = number_or_nan(found.get("level", 0.95)), ""
    if math.isfinite(low) and math.isfinite(high) and math.isfinite(level):
        note = f"{100 * level:.3g} % interval {format_number(low)} to {format_number(high)}"
    items = evaluation.get("num_items")
    if is_main and isinstance(items, int):
        note += f"{', ' if note else ''}n = {items}"
    return Card(name, format_number(value), note, is_main=is_main)


def _saliency(record: RunRecord) -> Iterator[Card]:
    found = record.metrics_of("saliency")
    if "peak_in_truth" in found:
        yield Card("saliency on target", _percent(found["peak_in_truth"]), "peak inside the known truth")
    if "deletion_auc" in found:
        yield Card("deletion", format_number(found["deletion_auc"]), _random(found, "deletion", "lower"))
    if "insertion_auc" in found:
        yield Card("insertion", format_number(found["insertion_auc"]), _random(found, "insertion", "higher"))


def _random(found: Mapping[str, float], name: str, better: str) -> str:
    return f"random order {format_number(found.get(f'random_{name}_auc', math.nan))}; {better} is better"


def _model(record: RunRecord) -> Iterator[Card]:
    best, train = best_of(record), record.results.get("train", {})
    if best:
        note = f"of {train.get('epochs', '?')}, by {best.get('monitor', '?')}"
        yield Card("best epoch", str(best["epoch"]), note)
    count = next((each["num_parameters"] for each in record.results.values() if "num_parameters" in each), None)
    if isinstance(count, int):
        yield Card("parameters", f"{count:,}", "of the model")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "nan"
