"""The test section: how predictions and truth compare, from evaluation.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from runner.axes import number_axis
from runner.reports.charts import NUM_COLORS, Chart, Series, scatter, shared_axis, square_chart, unit_frame
from runner.reports.record import RunRecord, mapping, number_or_nan
from runner.shown import format_number, printable
from runner.svg import Frame, dot, line, svg

MOST_CLASSES = 12
"""More classes have no confusion matrix with numbers, but a list of what is confused most."""

MOST_ROWS = 100
"""Of the table of classes, and of that list."""

MOST_OUTPUTS = 4
"""Of a regression that are drawn."""

MOST_DOTS = 1000

_Item = TypeVar("_Item")

NUM_SHADES = 7
"""Cells of the matrix have the CSS classes h0, for none of a row, to h6, for all of it."""


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix."""

    count: int
    shade: int
    is_right: bool


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix, or what is confused most where that is too large."""

    classes: list[str]
    rows: list[list[Cell]]
    frequent: list[tuple[str, str, int]]
    """Truth, prediction, and how often, of the mistakes; for large matrices."""


def scores(record: RunRecord) -> dict[str, Any]:
    """Return what the section shows; nothing but the metrics where there is no evaluation."""
    evaluation = record.evaluation
    phase = "test" if record.metrics_of("test") or not record.metrics_of("inference") else "inference"
    found: dict[str, Any] = {
        "kind": evaluation.get("kind"),
        "num_items": evaluation.get("num_items"),
        "metrics": [(name, format_number(value)) for name, value in record.metrics_of(phase).items()][:MOST_ROWS],
        "skipped": why_skipped(record, phase),
        "confusion": None,
        "classes": [],
        "charts": [],
        "has_predictions": record.folder.predictions.is_file(),
    }
    if evaluation.get("kind") == "classification":
        found["confusion"] = record.part("the confusion matrix", lambda: _confusion(evaluation))
        found["classes"] = record.part("the classes", lambda: _classes(evaluation)) or []
        found["charts"] = record.part("the curves of the test", lambda: _curves(evaluation)) or []
    elif evaluation.get("kind") == "regression":
        found["charts"] = record.part("the pictures of the test", lambda: _regression(evaluation)) or []
    return found


def why_skipped(record: RunRecord, phase: str) -> str:
    """Return why a phase did not apply; empty where it did."""
    return str(mapping(mapping(record.status.get("phases")).get(phase)).get("reason", ""))


def _confusion(evaluation: Mapping[str, Any]) -> Confusion | None:
    table, names = evaluation.get("confusion"), [str(name) for name in _items(evaluation.get("classes"), object)]
    if not table or len(table) != len(names):
        return None
    counts = [[int(number_or_nan(value)) for value in row] for row in table]
    if len(names) <= MOST_CLASSES:
        return Confusion(names, [_row(row, place) for place, row in enumerate(counts)], [])
    wrong = [
        (names[truth], names[prediction], count)
        for truth, row in enumerate(counts)
        for prediction, count in enumerate(row[: len(names)])
        if count and truth != prediction
    ]
    return Confusion(names, [], sorted(wrong, key=lambda each: -each[2])[:20])


def _row(counts: Sequence[int], place: int) -> list[Cell]:
    total = max(sum(counts), 1)
    shades = [math.ceil((NUM_SHADES - 1) * count / total) for count in counts]
    return [Cell(count, shade, at == place) for at, (count, shade) in enumerate(zip(counts, shades, strict=True))]


def _classes(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table of classes: name and support, then the numbers."""
    names = ("precision", "recall", "f1", "auc", "average_precision")
    rows = _items(evaluation.get("per_class"), dict)
    return [
        [str(row.get("name", "")), str(row.get("support", "")), *(_number(row.get(name)) for name in names)]
        for row in rows[:MOST_ROWS]
    ]


def _items(value: Any, kind: type[_Item]) -> list[_Item]:
    """Return those of a list that are of *kind*; none of anything else."""
    return [each for each in value if isinstance(each, kind)] if isinstance(value, list) else []


def _number(value: Any) -> str:
    number = number_or_nan(value)
    return format_number(number) if math.isfinite(number) else ""


def _curves(evaluation: Mapping[str, Any]) -> list[Chart]:
    areas = {str(row.get("name")): row for row in _items(evaluation.get("per_class"), dict)}
    charts = []
    for key, title, area, axes in (
        ("roc", "ROC", "auc", ("false positive rate", "true positive rate")),
        ("pr", "PR", "average_precision", ("recall", "precision")),
    ):
        found = _items(evaluation.get(key), dict)
        found.sort(key=lambda each: number_or_nan(areas.get(str(each.get("name")), {}).get(area, 1)))
        numbers = [_number(areas.get(str(each.get("name")), {}).get(area)) for each in found]
        series = [_series(each, number) for each, number in zip(found, numbers, strict=True)][:NUM_COLORS]
        if series:
            head = f"{title}, the {NUM_COLORS} lowest areas" if len(found) > NUM_COLORS else title
            head = f"{title}: {area.replace('_', ' ').replace('auc', 'area')} {numbers[0]}" if not found[1:] else head
            words = ", ".join(each.name for each in series)
            charts.append(square_chart(head, series, axes, diagonal=key == "roc", label=f"{title} of {words}"))
    calibration = evaluation.get("calibration")
    return [*charts, *([_calibration(calibration)] if isinstance(calibration, dict) else [])]


def _series(curve: Mapping[str, Any], area: str) -> Series:
    x, y = (map(number_or_nan, _items(curve.get(name), object)) for name in ("x", "y"))
    points = zip(x, y, strict=False)
    return Series(f"{printable(str(curve.get('name', '')), 30)} {area}".rstrip(), list(points))


def _calibration(found: Mapping[str, Any]) -> Chart:
    """Draw accuracy against confidence, a dot per bin whose area is its number of items (Guo et al. 2017)."""
    bins = [each for each in _items(found.get("bins"), dict) if number_or_nan(each.get("count")) > 0]
    most = max((number_or_nan(each["count"]) for each in bins), default=1)
    frame = unit_frame(("confidence", "accuracy"))
    parts = [*frame.drawn(), line(frame.at(0, 0), frame.at(1, 1), "chance")]
    for each in bins:
        x, y, count = (number_or_nan(each.get(name)) for name in ("confidence", "accuracy", "count"))
        if 0 <= x <= 1 and 0 <= y <= 1:
            title = f"{count:.0f} items: confidence {format_number(x)}, accuracy {format_number(y)}"
            parts.append(dot(frame.at(x, y), 3 + 9 * math.sqrt(count / most), "s0 bin", title))
    title = f"Calibration: ECE {_number(found.get('ece'))}"
    return Chart(title, svg(frame.width, frame.height, f"{title}, {len(bins)} bins", parts))


def _regression(evaluation: Mapping[str, Any]) -> list[Chart]:
    charts = []
    for found in _items(evaluation.get("points"), dict)[:MOST_OUTPUTS]:
        targets, predictions = (
            [number_or_nan(value) for value in _items(found.get(key), object)] for key in ("target", "prediction")
        )
        pairs = zip(targets, predictions, strict=False)
        finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if finite:
            shown = finite[:: max(1, len(finite) // MOST_DOTS)]
            name = printable(str(found.get("name", "")), 30)
            charts += _against(f"output {name}" if name.isdigit() else name, shown)
    return charts


def _against(name: str, pairs: Sequence[tuple[float, float]]) -> list[Chart]:
    """Draw predictions against targets, and what is left against predictions."""
    both = shared_axis(name, [value for pair in pairs for value in pair])
    frame = Frame(320, 300, both, both, f"{name} true", f"{name} predicted")
    assert both.scale is not None, "an axis for numbers has one"
    ends = [(both.scale.low, both.scale.low), (both.scale.high, both.scale.high)]
    first = scatter(frame, pairs, (ends, "chance"), f"Predicted against true {name}, {len(pairs)} items")
    left = [(prediction, prediction - target) for target, prediction in pairs]
    largest = max(abs(value) for _, value in left) or 1.0
    rest = Frame(320, 300, both, number_axis("residual", [-largest, largest]), f"{name} predicted", "residual")
    guide = [(both.scale.low, 0.0), (both.scale.high, 0.0)]
    second = scatter(rest, left, (guide, "chance"), f"Residuals of {name} against predictions")
    return [Chart(f"{name}: predicted and true", first), Chart(f"{name}: predicted minus true", second)]
