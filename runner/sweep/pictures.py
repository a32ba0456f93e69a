"""The pictures of a sweep's report, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len

from runner.axes import MOST_EXACT, Axis, number_axis, parameter_axis
from runner.shown import cut, format_number, printable
from runner.svg import (
    LETTER,
    LINE,
    MOST_ELEMENTS,
    Frame,
    Place,
    bar,
    cross,
    dot,
    dots,
    line,
    path,
    spaced,
    svg,
    text,
)
from runner.sweep import trials
from runner.sweep.tables import (
    FAILURES,
    SweepView,
    best_settings,
    by_number,
    mean_trials,
    metric_names,
    metrics_of,
    repeated_parameters,
)
from runner.sweep.trials import Trial

MOST_AXES = 12
"""More parameters are not drawn."""

MOST_LINES = 1000
"""Of more settings, as many are drawn, evenly spread, and the best."""

MOST_BOLD = 150
"""More lines are thin, the worse ones faint, and have no tooltips."""

NUM_COLORS = 7
"""From c0, the worst, to c6; the best has a colour of its own."""

_MOST_METRICS = 3
_HALF = 380
_GOLDEN = 0.618034


@dataclass(frozen=True)
class Picture:
    """One picture with what stands above and below it."""

    title: str
    svg: str
    caption: str = ""
    is_tall: bool = False
    """Takes about as much room as two others of its kind."""


@dataclass(frozen=True)
class _Point:
    trial: Trial
    values: tuple[float, ...]
    goodness: float
    """By rank, from 0 for the worst to 1."""
    is_best: bool

    @property
    def kind(self) -> str:
        return "best" if self.is_best else f"c{min(int(self.goodness * NUM_COLORS), NUM_COLORS - 1)}"

    @property
    def title(self) -> str:
        params = [f"{cut(name, 30)} {cut(value, 30)}" for name, value in list(self.trial.params.items())[:MOST_AXES]]
        return "  ".join([f"trial {self.trial.number}: {format_number(self.values[0])}", *params])


def shown_metrics(view: SweepView) -> list[str]:
    """Return the metrics that the pictures show: the objectives; without any the first metric that there is."""
    return [each.metric for each in view.objectives][:_MOST_METRICS] or metric_names(view)[:1]


def parallel_coordinates(view: SweepView, names: Sequence[str]) -> Picture | None:
    """Draw one line per setting through its parameters to its metrics; None where no trial has completed.

    Args:
        view: The sweep.
        names: Parameters, those that matter first; repeated ones are left out.
    """
    repeated = repeated_parameters(view)
    names = [name for name in names if name not in repeated]
    points = _thinned(found := _points(view, mean_trials(view)))
    if not points:
        return None
    columns = [(name, [point.trial.params.get(name) for point in points]) for name in names[:MOST_AXES]]
    axes = [parameter_axis(name, values, is_log=name in view.log_scaled) for name, values in columns]
    for place, metric in enumerate(shown_metrics(view)):
        axes.append(number_axis(metric, [point.values[place] for point in points]))
    places = [[_place(axis, value, point) for axis, value in _along(axes, point)] for point in points]
    notes = [f"One line per {'setting, means over its trials' if repeated else 'trial'}."]
    if len(found) > len(points):
        notes.append(f"{len(points)} of {len(found)} are drawn, evenly spread, the best among them.")
    if len(names) > MOST_AXES:
        notes.append(f"{len(names) - MOST_AXES} more parameters are not drawn.")
    return Picture("Parameters and metric", _parallel_svg(axes, points, places), " ".join(notes))


def metric_by_parameter(view: SweepView, names: Sequence[str]) -> list[Picture]:
    """Draw the first metric against each parameter, one dot per trial; nothing where no trial has completed."""
    points = _points(view, _completed(view))
    if not points:
        return []
    metric = shown_metrics(view)[0]
    return [_panel(name, metric, points, is_log=name in view.log_scaled) for name in names[:MOST_AXES]]


def history(view: SweepView) -> Picture | None:
    """Draw the first metric of each trial in the order of their numbers, and the best so far."""
    points = _points(view, _completed(view))
    if not points:
        return None
    metric = shown_metrics(view)[0]
    lost = [(each, "pruned" if each.state == trials.PRUNED else "failed") for each in _lost(view)]
    rows = [state for state in ("failed", "pruned") if any(state == each for _, each in lost)]
    y = number_axis(metric, [point.values[0] for point in points], rows)
    numbers = [float(trial.number) for trial in (*(point.trial for point in points), *(trial for trial, _ in lost))]
    x = number_axis("trial", numbers, is_exact=len(set(numbers)) <= MOST_EXACT)
    frame = Frame(_HALF, 260, x, y, "trial", _metric_label(view, metric))
    parts = frame.drawn()
    if view.objectives:
        parts.append(path([frame.at(x.place(at), y.place(v)) for at, v in _best_so_far(view, points)], "best line"))
    for trial, state in lost:
        title = f"trial {trial.number} {state}{': ' if trial.reason else ''}{trial.reason}"
        place = frame.at(x.place(float(trial.number)), y.place(state))
        parts.append(cross(place, "lost", title) if state == "failed" else dot(place, 2.2, "pruned", title))
    places = [frame.at(x.place(float(point.trial.number)), y.place(point.values[0])) for point in points]
    parts += dots(_titled(points, places))
    caption = f"The line is the best {printable(metric, 40)} so far." if view.objectives else ""
    return Picture("History", svg(frame.width, frame.height, f"{metric} of each trial", parts), caption)


def importance_bars(shares: Mapping[str, float]) -> Picture:
    """Draw the importance of parameters as bars; the 15 that matter most."""
    shown = list(shares.items())[:15]
    label = min(max(cell_len(name) for name, _ in shown) * LETTER + 14, 170)
    parts, full = [], _HALF - label - 50
    for row, (name, share) in enumerate(shown):
        top = 8 + 26 * row
        length = full * share / max(shown[0][1], 1e-9)
        parts.append(text((label - 8, top + 14), name, "tick", "end", label - 8))
        parts.append(bar((label, top), max(length, 1), 18, "c5"))
        parts.append(text((label + length + 6, top + 14), f"{100 * share:.0f} %", "tick"))
    words = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shown)
    picture = svg(_HALF, 26 * len(shown) + 12, f"Importance: {words}", parts)
    return Picture(
        "Importance", picture, "Share in what makes trials differ, as a random forest sees it. Rough below 50 trials."
    )


def pareto_front(view: SweepView) -> Picture | None:
    """Draw the trade-off between exactly two objectives, one dot per setting; None for another number of them."""
    points = _points(view, mean_trials(view))
    if len(view.objectives) != 2 or not points:
        return None
    first, second = (each.metric for each in view.objectives)
    x, y = (number_axis(name, [p.values[i] for p in points]) for i, name in enumerate((first, second)))
    frame = Frame(_HALF, 300, x, y, _metric_label(view, first), _metric_label(view, second))
    places = [frame.at(x.place(point.values[0]), y.place(point.values[1])) for point in points]
    front = sorted(place for place, point in zip(places, points, strict=True) if point.is_best)
    corners = [corner for one, other in pairwise(front) for corner in _corner(view, one, other)]
    parts = [*frame.drawn(), path([*front[:1], *corners], "best line"), *dots(_titled(points, places))]
    caption = "No other setting is better in both than those on the line."
    return Picture("Pareto front", svg(frame.width, frame.height, f"{second} against {first}", parts), caption)


def _completed(view: SweepView) -> list[Trial]:
    return [trial for trial in by_number(view) if trial.state == trials.COMPLETED]


def _lost(view: SweepView) -> list[Trial]:
    return [trial for trial in view.trials if trial.state in (*FAILURES, trials.PRUNED)]


def _points(view: SweepView, shown: Iterable[Trial]) -> list[_Point]:
    """Return the trials whose metrics are finite."""
    names = shown_metrics(view)
    best = {summary.setting for summary in best_settings(view)}
    found = []
    for trial in shown:
        metrics = metrics_of(trial, view.objectives)
        values = tuple(metrics.get(name, math.nan) for name in names)
        if values and all(map(math.isfinite, values)):
            found.append((trial, values))
    sign = view.objectives[0].sign if view.objectives else -1.0
    order = sorted({sign * values[0] for _, values in found}, reverse=True)
    goodness = {value: place / (len(order) - 1) if len(order) > 1 else 0.5 for place, value in enumerate(order)}
    return [_Point(trial, each, goodness[sign * each[0]], trial.setting in best) for trial, each in found]


def _thinned(points: list[_Point]) -> list[_Point]:
    step = len(points) / MOST_LINES
    kept = {int(index * step) for index in range(MOST_LINES)} if step > 1 else set(range(len(points)))
    return [point for index, point in enumerate(points) if index in kept or point.is_best]


def _along(axes: Sequence[Axis], point: _Point) -> list[tuple[Axis, str | float | None]]:
    num_params = len(axes) - len(point.values)
    values = [*(point.trial.params.get(axis.name) for axis in axes[:num_params]), *point.values]
    return list(zip(axes, values, strict=True))


def _place(axis: Axis, value: str | float | None, point: _Point) -> float:
    """Return the place on an axis; within the room of a text the better ones lie higher."""
    is_text = isinstance(value, str | None) and value in axis.places
    return axis.place(value) + (axis.slot * 0.5 * (point.goodness - 0.5) if is_text else 0)


def _parallel_svg(axes: Sequence[Axis], points: Sequence[_Point], places: Sequence[Sequence[float]]) -> str:
    width = min(max(230 * len(axes), _HALF), 1040)
    height = 80 + max(250, LINE * max(len(axis.labels) + (4 if axis.scale else 0) for axis in axes))
    end = 30 + min(LETTER * max(cell_len(label) for _, label in axes[-1].ticks), 120)
    gap = (width - 12 - end) / max(len(axes) - 1, 1)
    columns = [12 + gap * index for index in range(len(axes))]
    top, bottom = 46.0, height - 12

    def at(index: int, place: float) -> Place:
        return columns[index], bottom - (bottom - top) * place

    parts = []
    for index in sorted(range(len(points)), key=lambda index: (points[index].is_best, points[index].goodness)):
        kind, title = f"{points[index].kind} line", points[index].title
        way = [at(*each) for each in enumerate(places[index])]
        parts.append(path(way, kind, title) if len(points) <= MOST_BOLD else path(way, f"{kind} many"))
    for index, axis in enumerate(axes):
        parts.append(line(at(index, 0), at(index, 1), "axis"))
        for place, label in spaced(axis.ticks, lambda _: LINE, bottom - top):
            x, y = at(index, place)
            parts.append(text((x + 5, y + 4), label, "tick halo", room=(end if axis is axes[-1] else gap) - 8))
    names = [axis.name for axis in axes]
    return svg(width, height, f"Parallel coordinates of {', '.join(names)}", [*parts, *_names(names, columns, width)])


def _names(names: Sequence[str], columns: Sequence[float], width: float) -> list[str]:
    """Return the names above axes, on two levels where one has not enough room; the last one ends at the border."""
    needed = [cell_len(printable(name)) * LETTER * 1.1 + 9 for name in names]  # bold letters are wider
    starts = [*(column - 6 for column in columns[:-1]), max(width - needed[-1], columns[-1] - 100)]
    fits = all(start + room <= after for start, room, after in zip(starts, needed, [*starts[1:], width], strict=True))
    step = 1 if fits else 2
    ends = [*starts[step:], *[width] * step][: len(names)]
    levels = [30 if fits or index % 2 else 14 for index in range(len(names))]
    rooms = [(end - start - 8) / 1.1 for start, end in zip(starts, ends, strict=True)]
    return [
        text((start, level), name, "name", room=room)
        for name, start, level, room in zip(names, starts, levels, rooms, strict=True)
    ]


def _panel(name: str, metric: str, points: Sequence[_Point], *, is_log: bool) -> Picture:
    values = [point.trial.params.get(name) for point in points]
    axis = parameter_axis(name, values, is_log=is_log)
    measure = number_axis(metric, [point.values[0] for point in points])
    needed = max((cell_len(label) for _, label in axis.labels), default=0) * LETTER + 8
    is_turned = axis.scale is None and needed > 250 * axis.slot
    if is_turned:
        frame = Frame(340, max(64 + (LINE + 3) * len(axis.labels), 215), measure, axis, metric, "")
    else:
        frame = Frame(340, 215, axis, measure, "", metric)

    def at(place: float, value: float) -> Place:
        return frame.at(measure.place(value), place) if is_turned else frame.at(place, measure.place(value))

    jitter = [((point.trial.number * _GOLDEN) % 1 - 0.5) * 0.5 * axis.slot for point in points]
    shifts = [shift if value in axis.places else 0 for shift, value in zip(jitter, values, strict=True)]
    places = [axis.place(value) + shift for value, shift in zip(values, shifts, strict=True)]
    marks = [at(place, point.values[0]) for place, point in zip(places, points, strict=True)]
    means = [line(at(p - half, mean), at(p + half, mean), "mean") for p, half, mean in _means(axis, values, points)]
    parts = [*frame.drawn(), *dots(_titled(points, marks)), *means]
    return Picture(name, svg(frame.width, frame.height, f"{metric} against {name}", parts), is_tall=frame.height > 300)


def _means(axis: Axis, values: Sequence[str | None], points: Sequence[_Point]) -> list[tuple[float, float, float]]:
    """Return place, half length and height of a mark for the mean at each value, where there are several of few."""
    groups: dict[float, list[float]] = {}
    for value, point in zip(values, points, strict=True):
        groups.setdefault(axis.place(value), []).append(point.values[0])
    if len(groups) == len(points) or (axis.scale and len(groups) > 8):
        return []
    half = 0.35 * axis.slot if axis.scale is None else 0.03
    return [(place, half, sum(v / len(group) for v in group)) for place, group in groups.items() if len(group) > 1]


def _titled(points: Sequence[_Point], places: Sequence[Place]) -> list[tuple[Place, str, str]]:
    """Return dots with class and tooltip, the best last, that is on top."""
    pairs = sorted(zip(points, places, strict=True), key=lambda each: (each[0].is_best, each[0].goodness))
    return [(place, point.kind, point.title if len(pairs) <= MOST_ELEMENTS else "") for point, place in pairs]


def _metric_label(view: SweepView, metric: str) -> str:
    for each in view.objectives:
        if each.metric == metric:
            return f"{printable(metric, 40)}, {'less' if each.sign > 0 else 'more'} is better"
    return metric


def _best_so_far(view: SweepView, points: Sequence[_Point]) -> list[tuple[float, float]]:
    """Return the corners of the staircase: trial numbers and values."""
    sign, corners = view.objectives[0].sign, [(float(points[0].trial.number), points[0].values[0])]
    for point in points[1:]:
        number, before = float(point.trial.number), corners[-1][1]
        if sign * point.values[0] < sign * before:
            corners += [(number, before), (number, point.values[0])]
    return [*corners, (float(points[-1].trial.number), corners[-1][1])]


def _corner(view: SweepView, one: Place, other: Place) -> list[Place]:
    """Return the way from one point of the front to the next: by the corner that is as bad as the worse in each."""
    x_sign, y_sign = (each.sign for each in view.objectives)
    x = (max if x_sign > 0 else min)(one[0], other[0])
    y = (min if y_sign > 0 else max)(one[1], other[1])  # the picture's heights count downwards
    return [(x, y), other]
