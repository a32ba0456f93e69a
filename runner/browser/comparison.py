"""``runs compare``: only what differs between runs, on the terminal; :mod:`compare_page` has the same with pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from runner.browser.code_diff import CodeDiff, code_diff
from runner.browser.finding import name_of
from runner.browser.records import MISSING, RunRecord, config_values, live_state, read_environment, read_record
from runner.errors import UsageError
from runner.metric_modes import mode_of
from runner.number_text import format_seconds
from runner.run_folder import RunFolder
from runner.shown import brief, cut, format_number, printable

NOTHING = "-"
"""Stands for what a run does not have."""

_WIDEST = 48


@dataclass(frozen=True)
class Row:
    """Something in which the runs differ."""

    name: str
    values: tuple[str, ...]
    """Of each run."""
    best: int | None = None
    """Which run has the best value of a metric."""


@dataclass(frozen=True)
class Comparison:
    """What differs between runs."""

    records: Sequence[RunRecord]
    letters: Sequence[str]
    """A short name for each run."""
    sections: Mapping[str, Sequence[Row]]
    """By title; without those in which nothing differs."""
    same: Sequence[str]
    """Titles of what does not differ."""
    code: Sequence[tuple[str, CodeDiff]]
    """The code of the first run against that of each other one."""


def compare(paths: Sequence[Path], repository: Path) -> Comparison:
    """Compare runs.

    Args:
        paths: Their folders.
        repository: Where git may find their commits.

    Raises:
        UsageError: a run is named twice, or has gone meanwhile.
    """
    if len(set(paths)) < len(paths):
        raise UsageError("The same run is named twice.")
    records = [read_record(path, name_of(path)) for path in paths]
    there = [record for record in records if record is not None]
    if len(there) < len(paths):
        raise UsageError("One of the runs has gone meanwhile.")
    folders = [RunFolder(path) for path in paths]
    letters = [chr(ord("A") + place) for place in range(len(paths))]
    environments = [_flat(read_environment(folder)) for folder in folders]
    packages = [_taken(each, "packages.") for each in environments]
    found = {
        "outcome": _rows([_outcome(record) for record in there]),
        "parameters": _parameters(folders),
        "metrics": _metrics(there),
        "environment": _rows(environments),
        "packages": _rows(packages),
    }
    code = [
        (f"{letters[0]} → {letter}", code_diff(folders[0], folder, repository))
        for letter, folder in zip(letters[1:], folders[1:], strict=True)
    ]
    sections = {title: rows for title, rows in found.items() if rows}
    return Comparison(there, letters, sections, [title for title, rows in found.items() if not rows], code)


def comparison_lines(comparison: Comparison, width: int) -> list[str]:
    """Return the comparison as lines of at most about *width* columns."""
    names = [printable(record.name) for record in comparison.records]
    lines = [f"{letter}  {name}" for letter, name in zip(comparison.letters, names, strict=True)]
    for title, rows in comparison.sections.items():
        lines += ["", *_table(title, rows, comparison.letters, width)]
    if comparison.same:
        lines += ["", f"no difference in: {', '.join(comparison.same)}"]
    for title, code in comparison.code:
        lines += ["", f"code {title}: {code.summary}", *(printable(line, 400) for line in code.lines)]
    return lines


def _table(title: str, rows: Sequence[Row], letters: Sequence[str], width: int) -> Iterator[str]:
    cells = [(title, *letters), *((row.name, *(_marked(row, place) for place in range(len(letters)))) for row in rows)]
    first = min(max(cell_len(row[0]) for row in cells), 32)
    room = max((width - first) // len(letters) - 2, 10)
    others = [min(max(cell_len(row[place]) for row in cells), room, _WIDEST) for place in range(1, len(letters) + 1)]
    for row in cells:
        shown = [cut(text, limit) for text, limit in zip(row, (first, *others), strict=True)]
        padded = [text + " " * (limit - cell_len(text)) for text, limit in zip(shown, (first, *others), strict=True)]
        yield "  ".join(padded).rstrip()


def _marked(row: Row, place: int) -> str:
    return f"{row.values[place]} *" if row.best == place else row.values[place]


def _rows(values: Sequence[Mapping[str, str]]) -> list[Row]:
    names = dict.fromkeys(name for each in values for name in each)
    rows = [Row(printable(name, 80), tuple(each.get(name, NOTHING) for each in values)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _metrics(records: Sequence[RunRecord]) -> list[Row]:
    """Return the metrics that differ, with the best of those whose names say what is good."""
    rows = []
    of_maps = {name for record in records for name in record.metrics.get("saliency", ())}
    for name in dict.fromkeys(name for record in records for name in record.metric_names()):
        values = [record.metric(name) for record in records]
        texts = tuple(NOTHING if value is MISSING else format_number(value) for value in values)
        if len({repr(value) for value in values}) < 2:
            continue
        finite = [(value, place) for place, value in enumerate(values) if value is not MISSING and math.isfinite(value)]
        is_good_known = name not in of_maps and (mode_of(name) == "max" or "loss" in name or "error" in name)
        best = (max if mode_of(name) == "max" else min)(finite)[1] if finite and is_good_known else None
        rows.append(Row(printable(name, 80), texts, best))
    return rows


def _outcome(record: RunRecord) -> dict[str, str]:
    return {
        "model": printable(record.model, 80),
        "state": printable(live_state(record), 40),
        "epochs": str(record.epochs),
        "time": format_seconds(record.seconds),
        "tags": printable(", ".join(record.tags), 200),
        "note": printable(record.note, 200),
    }


def _parameters(folders: Sequence[RunFolder]) -> list[Row]:
    """Return the parameters whose values differ, with who set each."""
    values = [{name: (value, origin) for name, value, origin in config_values(folder)} for folder in folders]
    rows = []
    for name in dict.fromkeys(name for each in values for name in each):
        found = [each.get(name) for each in values]
        if any(one is None or found[0] is None or one[0] != found[0][0] for one in found):
            rows.append(Row(printable(name, 80), tuple(NOTHING if one is None else _setting(*one) for one in found)))
    return rows


def _setting(value: Any, origin: str) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{brief(text, 120)} ({printable(origin, 60)})"


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return values as texts, those one level down with names like ``torch.version``."""
    found: dict[str, str] = {}
    for name, each in value.items():
        if isinstance(each, dict) and not prefix:
            found |= _flat(each, f"{prefix}{name}.")
        elif isinstance(each, list):
            found[prefix + name] = printable(" ".join(word if isinstance(word, str) else "…" for word in each), 400)
        else:
            found[prefix + name] = printable("…" if isinstance(each, dict) else str(each), 400)
    return found


def _taken(values: dict[str, str], prefix: str) -> dict[str, str]:
    """Take the values whose names begin with *prefix* out, and return them under the rest of their names."""
    names = [name for name in values if name.startswith(prefix)]
    return {name.removeprefix(prefix): values.pop(name) for name in names}
