"""What the files of one run say about it, whoever wrote them: missing or damaged files never raise."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.errors import RunFailedError
from runner.folder_lock import is_locked
from runner.foreign_files import read_bytes, read_text
from runner.queued_run import QUEUED
from runner.run_folder import RunFolder
from runner.slurm_jobs import is_of, jobs_in_slurm, numbers_in_slurm

MISSING = object()
"""Stands for a value that a run does not have."""

DAMAGED = "damaged"
KILLED = "killed"
"""States that no run says itself: status.json cannot be read, or says ``running`` where nobody works."""

_CONFIG_LINE = re.compile(r"^(\w+): (.*)  # (.*)$", re.MULTILINE)
_TIME_IN_NAME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)(\d\d)(\d\d)Z_")
_LONGEST = 10_000
_MOST_OF_CONFIG = 4_000_000


@dataclass(frozen=True)
class RunRecord:
    """One run, as its files tell it."""

    path: Path
    name: str
    """Of its folder; ``SWEEP/12`` for a trial."""
    model: str
    state: str
    """``queued``, ``running``, ``completed``, ``failed``, ``interrupted``, ``pruned``; also ``killed``, ``damaged``."""
    phase: str
    date: str
    """``YYYY-MM-DD hh:mm:ss`` in UTC, when the run was made; empty where unknown."""
    seconds: float
    """Time of its phases, or of its last attempt where that is more."""
    epochs: int
    reason: str
    """Of its end."""
    metrics: Mapping[str, Mapping[str, float]]
    """Of each phase."""
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    note: str

    def value(self, name: str) -> Any:
        """Return a field, else a metric, else a parameter; :data:`MISSING` where the run has none of that name.

        ``test.loss`` is a metric of one phase; ``metric.NAME`` and ``parameter.NAME`` say which of two is meant.
        """
        if name in FIELDS:
            return FIELDS[name](self)
        metric = self.metric(name)
        if metric is not MISSING:
            return metric
        first, _, rest = name.partition(".")
        if first == "metric":
            return self.metric(rest)
        return self.parameters.get(rest if first == "parameter" else name, MISSING)

    def metric(self, name: str) -> Any:
        """Return a metric of the last phase that has it, or of the phase named before a dot."""
        for values in reversed(list(self.metrics.values())):
            if name in values:
                return values[name]
        phase, _, rest = name.partition(".")
        return self.metrics.get(phase, {}).get(rest, MISSING)

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, each once: those of the test, then those of the validation, then others."""
        found = dict.fromkeys(name for phase in self.metrics for name in self.metrics[phase])
        others = set(self.metrics.get("saliency", ()))
        return sorted(found, key=lambda name: (name in others, not name.startswith("test"), "val" not in name))

    def flat(self) -> dict[str, Any]:
        """Return all values under the names by which :meth:`value` knows them."""
        values = {name: read(self) for name, read in FIELDS.items()}
        for kind, names in (("metric", self.metric_names()), ("parameter", list(self.parameters))):
            for name in names:
                values[f"{kind}.{name}" if name in values else name] = self.value(f"{kind}.{name}")
        return values


FIELDS: Mapping[str, Callable[[RunRecord], Any]] = {
    "name": lambda run: run.name,
    "model": lambda run: run.model,
    "state": lambda run: run.state,
    "phase": lambda run: run.phase,
    "date": lambda run: run.date,
    "seconds": lambda run: run.seconds,
    "epochs": lambda run: run.epochs,
    "reason": lambda run: run.reason,
    "tags": lambda run: list(run.tags),
    "note": lambda run: run.note,
    "folder": lambda run: str(run.path),
}
"""What every run has, by the names used in ``--where``, ``--sort`` and ``--columns``."""


def read_record(path: Path, name: str) -> RunRecord | None:
    """Read the files of a run; None where there is no run in the folder."""
    folder = RunFolder(path)
    if not folder.can_resume:
        return None
    status = _read(folder.read_status)
    labels = _read(folder.read_labels)
    phases = status.get("phases")
    named = _TIME_IN_NAME.match(name)
    started = _text(status.get("started"))[:19].replace("T", " ")
    tags = labels.get("tags")
    return RunRecord(
        path=path,
        name=name,
        model=_text(status.get("model")),
        state=_text(status.get("state")) or DAMAGED,
        phase=_text(status.get("phase")),
        date=f"{named[1]} {named[2]}:{named[3]}:{named[4]}" if named else started,
        seconds=max(_number(status.get("uptime_seconds")), _seconds(phases)),
        epochs=int(_number(status.get("epochs_finished"))),
        reason=_text(status.get("exit_reason")),
        metrics=_metrics(_read(folder.read_results)),
        parameters={name: value for name, value, _ in config_values(folder)},
        tags=tuple(_text(each) for each in tags) if isinstance(tags, list) else (),
        note=_text(labels.get("note")),
    )


def live_state(record: RunRecord) -> str:
    """Return the state of a run; see :func:`with_live_states`."""
    return with_live_states([record])[0].state


def with_live_states(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with the states they have now.

    ``killed`` is what says it is running where no process works in its folder, and what says it is queued where Slurm
    has none of its jobs any more.
    """
    waiting = {each.path: numbers_in_slurm(RunFolder(each.path).jobs) for each in records if each.state == QUEUED}
    jobs = jobs_in_slurm({number for numbers in waiting.values() for number in numbers})

    def is_dead(record: RunRecord) -> bool:
        if record.state == QUEUED:
            numbers, folder = waiting[record.path], RunFolder(record.path).jobs
            return bool(numbers) and jobs is not None and not any(
                job.array in numbers and is_of(job, folder) for job in jobs
            )  # fmt: skip
        return record.state == "running" and not is_locked(record.path)

    return [replace(each, state=KILLED) if is_dead(each) else each for each in records]


def config_values(folder: RunFolder) -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and who set it of each parameter in config.yaml."""
    try:
        text = read_text(folder.config, _MOST_OF_CONFIG)
    except OSError:
        return
    for name, value, origin in _CONFIG_LINE.findall(text):
        yield name, _plain(value), origin


def read_environment(folder: RunFolder) -> dict[str, Any]:
    """Return what environment.json holds; nothing where it is missing or damaged."""
    if not folder.environment.is_file():
        return {}
    try:
        value = json.loads(read_bytes(folder.environment))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@functools.lru_cache(maxsize=10_000)
def _plain(text: str) -> Any:
    """Read one value of config.yaml; what cannot be read is text. Nearly all are JSON as well, which is faster."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        from runner.strict_yaml import YamlError, parse, to_plain

        try:
            return to_plain(parse(text))
        except (YamlError, ValueError, RecursionError):
            return text


def _read(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except (RunFailedError, OSError, RecursionError):
        return {}


def _metrics(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = {}
    for phase, outcome in results.items():
        metrics = outcome.get("metrics") if isinstance(outcome, dict) else None
        if isinstance(metrics, dict):
            kept = {name: math.nan if value is None else value for name, value in metrics.items()}
            found[phase] = {name: value for name, value in kept.items() if is_metric(value)}
    return found


def is_metric(value: Any) -> bool:
    """Tell whether *value* is a number that a float can hold."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def _seconds(phases: Any) -> float:
    outcomes = phases.values() if isinstance(phases, dict) else ()
    return sum(_number(each.get("seconds")) for each in outcomes if isinstance(each, dict))


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and abs(value) < 1e12
    return float(value) if is_number else 0.0


def _text(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
