"""The curves of the report: every metric that was logged, those of one quantity in one chart."""

from __future__ import annotations

import re
from typing import Any

from runner.reports.charts import Chart, Series, line_chart
from runner.reports.record import RunRecord, mapping

MOST_CHARTS = 18
"""More metrics are only in metrics.csv."""

MOST_LINES = 6
"""In one chart."""

_MOST_EPOCHS = 10**9

_SPLIT = re.compile(r"^(train|training|val|valid|validation|test)[_/ -]|[_/ -](train|val|valid|validation|test)$")
_ORDER = ("loss", "acc", "auc", "f1", "mae")


def curves(record: RunRecord) -> dict[str, Any]:
    """Return the charts, and how many metrics they leave out."""
    groups: dict[str, list[str]] = {}
    names = dict.fromkeys(name for row in record.metrics for name in row if name not in ("epoch", "step"))
    for name in names:
        groups.setdefault(_SPLIT.sub("", name) or name, []).append(name)
    shown = sorted(groups, key=_rank)[:MOST_CHARTS]
    charts = [chart for title in shown if (chart := _chart(record, title, groups[title][:MOST_LINES]))]
    drawn = sum(len(chart.legend) for chart in charts)
    return {"charts": charts, "left_out": len(names) - drawn, "best": best_of(record)}


def best_of(record: RunRecord) -> dict[str, Any]:
    """Return the best epoch of the training, counted from 1, its metric and score; empty where none is known."""
    best = mapping(record.results.get("train", {}).get("best"))
    return best if isinstance(epoch := best.get("epoch"), int) and 0 < epoch < _MOST_EPOCHS else {}


def _rank(title: str) -> tuple[int, str]:
    """Return what sorts the quantities that matter most to the front, and learning rates to the end."""
    if title.startswith("l_rate"):
        return len(_ORDER) + 1, title
    return next((place for place, word in enumerate(_ORDER) if word in title.lower()), len(_ORDER)), title


def _chart(record: RunRecord, title: str, names: list[str]) -> Chart | None:
    """Draw *names* over epochs; over steps where a metric has several values in an epoch."""
    rows = {name: [row for row in record.metrics if name in row] for name in names}
    over_steps = any(len({row["epoch"] for row in found}) < len(found) for found in rows.values())
    best, mark = best_of(record).get("epoch"), None
    if best is not None and over_steps:
        mark = max((row["step"] for row in record.metrics if row["epoch"] == best - 1), default=None)
    elif best is not None:
        mark = float(best)
    series = [
        Series(name, [(row["step"] if over_steps else row["epoch"] + 1, row[name]) for row in found])
        for name, found in rows.items()
    ]
    return line_chart(title, series, "step" if over_steps else "epoch", mark=mark)
