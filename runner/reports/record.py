"""What a run folder says about its run, as far as it can be read. Nothing here raises for what the files hold."""

from __future__ import annotations

import csv
import io
import itertools
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from runner.folder_lock import is_locked
from runner.foreign_files import MOST_OF_TABLE, MOST_ROWS, read_bytes, read_text, rows_of
from runner.metrics_table import KEYS
from runner.reports.log_records import LogRecord, read_log
from runner.run_folder import RunFolder

log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

_MOST_OF_CONFIG = 4_000_000
"""Bytes of config.yaml; no run can be made with more than a quarter."""

_VALUE = re.compile(r"(?:# )?(\w+): (.*)  # (.*)")
_GROUP = re.compile(r"# --- (.*) ---")
_ORIGIN = re.compile(r"(.*), default (.*)")


@dataclass(frozen=True)
class Parameter:
    """One line of config.yaml."""

    name: str
    value: str
    """As YAML."""
    origin: str
    """Who set it."""
    default: str
    """What it would be else."""

    @property
    def is_changed(self) -> bool:
        """Whether anybody set it."""
        return self.origin != "default"


@dataclass(frozen=True)
class RunRecord:
    """The files of a run, read when they are asked for."""

    folder: RunFolder
    problems: list[str] = field(default_factory=list)
    """What could not be read, in sentences."""

    @cached_property
    def status(self) -> dict[str, Any]:
        """status.json."""
        return self._json(self.folder.status.name)

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """results.json: what each phase found."""
        return {name: each for name, each in self._json(self.folder.results.name).items() if isinstance(each, dict)}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """environment.json."""
        return self._json(self.folder.environment.name)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """evaluation.json: how predictions and truth compare."""
        return self._json(self.folder.evaluation.name)

    @cached_property
    def parameters(self) -> list[tuple[str, list[Parameter]]]:
        """config.yaml: title and parameters of each group."""
        groups: list[tuple[str, list[Parameter]]] = [("", [])]
        for line in self._text(self.folder.config.name, _MOST_OF_CONFIG).splitlines():
            if title := _GROUP.fullmatch(line):
                groups.append((title[1], []))
            elif found := _VALUE.fullmatch(line):
                name, value, rest = found.groups()
                set_by = _ORIGIN.fullmatch(rest)
                origin, default = set_by.groups() if set_by else (rest, value if rest == "default" else "")
                groups[-1][1].append(Parameter(name, value, origin, default))
        return [group for group in groups if group[1]]

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """metrics.csv: the numbers of each row that are there, with ``epoch`` (from 0) and ``step``."""
        rows = rows_of(csv.DictReader(io.StringIO(self._text(self.folder.metrics.name, MOST_OF_TABLE), newline="")))
        return [row for row in map(_numbers, itertools.islice(rows, MOST_ROWS)) if row.keys() >= set(KEYS)]

    @cached_property
    def log(self) -> list[LogRecord]:
        """The last records of run.log."""
        return self._read(self.folder.log.name, lambda: read_log(self.folder.log)) or []

    @cached_property
    def state(self) -> str:
        """As in status.json; ``killed`` where it says that a process runs which does not."""
        state = str(self.status.get("state", "unknown"))
        is_dead = state == "running" and not is_locked(self.folder.path)
        return "killed" if is_dead else state

    @property
    def classes(self) -> list[str]:
        """Names of the classes, where the evaluation has them."""
        names = self.evaluation.get("classes")
        return [str(name) for name in names] if isinstance(names, list) else []

    def metrics_of(self, phase: str) -> dict[str, float]:
        """Return the final metrics of a phase, NaN for what is no number."""
        found = self.results.get(phase, {}).get("metrics")
        return {str(name): number_or_nan(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def class_name(self, index: int) -> str:
        """Return what class number *index* is called."""
        name = self.classes[index] if 0 <= index < len(self.classes) else str(index)
        return f"class {name}" if name.isdigit() else name

    def part(self, name: str, make: Callable[[], _Found]) -> _Found | None:
        """Return what *make* returns; None where it raises: odd values must not take the rest of the page away."""
        try:
            return make()
        except Exception as error:
            self.problems.append(f"{name} cannot be shown: {type(error).__name__}: {error}")
            log.debug("%s cannot be shown", name, exc_info=True)
            return None

    def _json(self, name: str) -> dict[str, Any]:
        value = self._read(name, lambda: json.loads(read_bytes(self.folder.path / name)))
        return value if isinstance(value, dict) else {}

    def _text(self, name: str, most: int) -> str:
        text: str = self._read(name, lambda: read_text(self.folder.path / name, most)) or ""
        return text.replace("\0", "")

    def _read(self, name: str, read: Callable[[], Any]) -> Any:
        """Return what *read* returns; None where there is no such file or it cannot be read."""
        try:
            return read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            self.problems.append(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")
            return None


def mapping(value: Any) -> dict[str, Any]:
    """Return *value* if it is a dict; else an empty one."""
    return value if isinstance(value, dict) else {}


def number_or_nan(value: Any) -> float:
    """Return a number from JSON or CSV as float; NaN for null and for anything else."""
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _numbers(row: Mapping[str | None, str | None]) -> dict[str, float]:
    found = {name: number_or_nan(text) for name, text in row.items() if name and text and isinstance(text, str)}
    return {name: value for name, value in found.items() if name not in KEYS or math.isfinite(value)}
