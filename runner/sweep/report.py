"""report.html: a sweep on one page that needs nothing but itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from runner.html_page import html_page
from runner.number_text import format_seconds
from runner.shown import format_number, format_ranges, number_of
from runner.sweep import pictures, trials
from runner.sweep.importance import FEWEST_TRIALS, importance
from runner.sweep.tables import (
    FAILURES,
    SettingSummary,
    SweepView,
    aggregate,
    best_settings,
    by_number,
    metric_names,
    metrics_of,
    repeated_parameters,
    state_counts,
    state_label,
)
from runner.sweep.trials import Trial

MOST_ROWS = 500
"""Of a table on the page; sweep.csv has all."""

MOST_METRICS = 16
"""Columns of metrics in a table on the page."""

MOST_REASONS = 50
"""Different reasons of failures on the page."""

MOST_CARDS = 3
"""Settings of a Pareto front that are described one by one; a longer front is a table."""

MOST_LINKS = 20
"""To run folders in one place."""

MOST_BEST_METRICS = 6
"""Metrics that are told of each of them."""

_STARTED = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)(\d\d)(\d\d)Z_")


def sweep_report(view: SweepView, written: datetime | None = None) -> str:
    """Return the report: a page of HTML that asks for nothing outside of itself and runs no script.

    Args:
        view: The sweep.
        written: When; now by default.
    """
    return html_page(
        "sweep_report.html",
        styles=["report.css", "sweep_report.css"],
        num_colors=pictures.NUM_COLORS,
        head=_head(view, written or datetime.now(UTC)),
        best=_best(view),
        pictures=_pictures(view),
        settings=_settings(view, [each for each in aggregate(view) if each.completed]),
        runs=_runs(view),
        failures=_failures(view),
        notes=view.notes,
    )


@dataclass(frozen=True)
class _Table:
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int
    """Rows that are not there."""
    more_metrics: int
    """Columns that are not there."""

    @cached_property
    def columns(self) -> list[tuple[str, bool]]:
        """Titles, and whether they stand above numbers."""
        places = range(len(self.titles))
        return [
            (title, _are_numbers(row[i] for row in self.rows)) for i, title in zip(places, self.titles, strict=True)
        ]


def _are_numbers(cells: Iterable[str]) -> bool:
    firsts = [cell.split(" ")[0] for cell in cells if cell]
    return all(number_of(first) is not None or first in ("nan", "inf", "-inf") for first in firsts)


def _head(view: SweepView, written: datetime) -> dict[str, Any]:
    started = _STARTED.match(view.name)
    seconds = sum(trial.seconds for trial in view.trials)
    return {
        "name": view.name,
        "container": view.container,
        "started": f"{started[1]} {started[2]}:{started[3]}:{started[4]} UTC" if started else "",
        "written": f"{written:%Y-%m-%d %H:%M:%S} UTC",
        "states": [(state, state_label(state), count) for state, count in state_counts(view).items()],
        "total": max(view.num_trials or 0, len(view.trials)),
        "seconds": format_seconds(seconds) if seconds else "",
        "objectives": [(each.metric, "less" if each.sign > 0 else "more") for each in view.objectives],
        "repeated": sorted(repeated_parameters(view)),
    }


def _best(view: SweepView) -> dict[str, Any]:
    """Return the best settings: few one by one, more as a table."""
    best, names = best_settings(view), metric_names(view)
    described = [
        {
            "metrics": [(name, str(each.metrics[name])) for name in names if name in each.metrics][:MOST_BEST_METRICS],
            "params": [(name, each.params[name]) for name in view.varied if name in each.params],
            "numbers": each.numbers[:MOST_LINKS],
        }
        for each in best
    ]
    is_few = len(best) <= MOST_CARDS
    return {
        "cards": described if is_few else [],
        "table": None if is_few else _settings(view, best),
        "count": len(best),
    }


def _pictures(view: SweepView) -> dict[str, Any]:
    shares = _importance(view) or {}
    names = sorted(view.varied, key=lambda name: -shares.get(name, 0.0))
    halves = [
        pictures.history(view),
        pictures.pareto_front(view),
        pictures.importance_bars(shares) if shares else None,
    ]
    panels = pictures.metric_by_parameter(view, names)
    return {
        "wide": pictures.parallel_coordinates(view, names),
        "halves": [each for each in halves if each],
        "panels": panels,
        "panels_left_out": len(names) - len(panels),
        "metric": next(iter(pictures.shown_metrics(view)), ""),
        "fewest": FEWEST_TRIALS,
        "has_importance": bool(shares),
    }


def _importance(view: SweepView) -> dict[str, float] | None:
    if len(view.varied) < 2:  # it would have all, and the import of scikit-learn takes a second
        return None
    metric = next(iter(pictures.shown_metrics(view)), "")
    completed = [trial for trial in view.trials if trial.state == trials.COMPLETED]
    measured = [(trial, metrics_of(trial, view.objectives).get(metric, math.nan)) for trial in completed]
    finite = [(trial, value) for trial, value in measured if math.isfinite(value)]
    columns = {name: [trial.params.get(name) for trial, _ in finite] for name in view.varied}
    return importance(columns, [value for _, value in finite])


def _settings(view: SweepView, found: Sequence[SettingSummary]) -> _Table:
    """Return a table of settings; objectives stand before the parameters, other metrics after them."""
    repeated, metrics = repeated_parameters(view), metric_names(view)
    params = [name for name in view.varied if name not in repeated]
    first, others = metrics[: len(view.objectives)], metrics[len(view.objectives) : MOST_METRICS]
    rows = []
    for each in found[:MOST_ROWS]:
        row = [format_ranges(each.numbers), *([f"{each.completed} of {len(each.numbers)}"] if repeated else [])]
        row += [str(each.metrics.get(name, "")) for name in first]
        row += [each.params.get(name, "") for name in params]
        rows.append([*row, *(str(each.metrics.get(name, "")) for name in others)])
    titles = ["trials", "completed"] if repeated else ["trial"]
    return _Table(
        [*titles, *first, *params, *others], rows, len(found) - len(rows), max(len(metrics) - MOST_METRICS, 0)
    )


def _runs(view: SweepView) -> _Table:
    """Return the table of all trials, in the order of their numbers."""
    names = metric_names(view)
    metrics = names[:MOST_METRICS]
    rows = [_run(view, trial, metrics) for trial in by_number(view)[:MOST_ROWS]]
    titles = ["trial", "state", *view.varied, *metrics, "time", "attempts"]
    return _Table(titles, rows, len(view.trials) - len(rows), len(names) - len(metrics))


def _run(view: SweepView, trial: Trial, names: Sequence[str]) -> list[str]:
    metrics = metrics_of(trial, view.objectives)
    measured = [format_number(metrics[name]) if name in metrics else "" for name in names]
    params = [trial.params.get(name, "") for name in view.varied]
    ends = [format_seconds(trial.seconds) if trial.seconds else "", str(trial.attempts)]
    return [str(trial.number), trial.state, *params, *measured, *ends]


def _failures(view: SweepView) -> dict[str, Any]:
    """Return the reasons of failures, each with its trials, the most frequent first."""
    reasons: dict[str, list[int]] = {}
    for trial in by_number(view):
        if trial.state in FAILURES or (trial.reason and trial.state != trials.COMPLETED):
            reasons.setdefault(trial.reason, []).append(trial.number)
    frequent = sorted(reasons.items(), key=lambda each: (-len(each[1]), each[1]))
    described = []
    for reason, numbers in frequent[:MOST_REASONS]:
        lines = reason.strip().splitlines() or ["no reason was given"]
        described.append(
            {
                "numbers": numbers[:MOST_LINKS],
                "trials": format_ranges(numbers),
                "head": lines[-1] if lines[0].startswith("Traceback") else lines[0],
                "lines": lines[:200] if len(lines) > 1 or len(lines[0]) > 200 else [],
            }
        )
    return {"reasons": described, "left_out": len(frequent) - len(described)}
