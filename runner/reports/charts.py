"""One chart of the report, and how lines and dots are drawn in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from runner.axes import Axis, count_axis, number_axis
from runner.shown import format_number
from runner.svg import MOST_ELEMENTS, Frame, Place, dot, line, path, svg, text

NUM_COLORS = 6
"""Lines in one chart have the CSS classes s0 to s5, and over again."""

MOST_POINTS = 400
"""Of longer lines, as many points are drawn, evenly spread."""

_MOST_DOTS = 60
_WIDTH, _HEIGHT = 380.0, 230.0

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    points: Points
    """Those with a value that is not finite break the line."""


@dataclass(frozen=True)
class Chart:
    """A picture with what stands around it."""

    title: str
    svg: str
    caption: str = ""
    legend: list[str] = field(default_factory=list)
    """Names of the lines s0, s1, ...; one that says no more than the title is not shown."""


def line_chart(title: str, series: Sequence[Series], x_name: str, *, mark: float | None = None) -> Chart | None:
    """Draw numbers over epochs or steps; None where none is finite.

    Args:
        title: What stands above.
        series: The lines.
        x_name: What the x axis counts.
        mark: Where a vertical line says "best".
    """
    points = [point for each in series for point in each.points if math.isfinite(point[1])]
    if not points:
        return None
    frame = Frame(_WIDTH, _HEIGHT, count_axis(x_name, [x for x, _ in points]),
                  number_axis(title, [y for _, y in points]), x_name, "")  # fmt: skip
    parts = frame.drawn()
    if mark is not None and min(points)[0] <= mark <= max(points)[0]:
        x = frame.x.place(mark)
        parts.append(line(frame.at(x, 0), frame.at(x, 1), "mark"))
        top = frame.at(x, 1)
        parts.append(text((top[0], top[1] - 4), "best", "tick", "end" if x > 0.5 else "start"))
    for number, each in enumerate(series):
        parts += _line(frame, each, f"s{number % NUM_COLORS}", x_name)
    last = ", ".join(f"{each.name} ends at {_last(each.points)}" for each in series)
    lost = sum(not math.isfinite(y) for each in series for _, y in each.points)
    caption = f"{lost} value{'s are' if lost > 1 else ' is'} not finite." if lost else ""
    return Chart(title, svg(frame.width, frame.height, f"{title} by {x_name}: {last}", parts), caption,
                 [each.name for each in series])  # fmt: skip


def square_chart(title: str, series: Sequence[Series], names: tuple[str, str], *, diagonal: bool, label: str) -> Chart:
    """Draw curves in the square from 0 to 1.

    Args:
        title: What stands above.
        series: The curves.
        names: Of the axes.
        diagonal: Whether the line from corner to corner is drawn, which stands for chance.
        label: Says to those who do not see it what it shows.
    """
    frame = unit_frame(names)
    parts = frame.drawn()
    if diagonal:
        parts.append(line(frame.at(0, 0), frame.at(1, 1), "chance"))
    for number, each in enumerate(series):
        inside = [(x, y) for x, y in each.points if 0 <= x <= 1 and 0 <= y <= 1]
        if inside:
            places = [frame.at(x, y) for x, y in _thinned(inside)]
            parts.append(path(places, f"s{number % NUM_COLORS} line", each.name))
    legend = [each.name for each in series] if series[1:] else []
    return Chart(title, svg(frame.width, frame.height, label, parts), legend=legend)


def unit_frame(names: tuple[str, str]) -> Frame:
    """Return a square with both axes from 0 to 1.

    Args:
        names: Of the x and the y axis.
    """
    unit = (0.0, 0.5, 1.0)
    x, y = (number_axis(name, unit, is_exact=True) for name in names)
    return Frame(300, 290, x, y, *names)


def scatter(frame: Frame, points: Points, guide: tuple[Points, str], label: str) -> str:
    """Draw dots and a straight line that says where they ought to lie.

    Args:
        frame: With axes that have room for all.
        points: The dots.
        guide: Ends of the line, and its CSS class.
        label: Says to those who do not see it what it shows.
    """
    places = [_at(frame, point) for point in points]
    parts = [*frame.drawn(), path([_at(frame, end) for end in guide[0]], guide[1])]
    if len(places) <= MOST_ELEMENTS:
        parts += [dot(place, 2.6, "s0 faint") for place in places]
    else:
        track = "".join(f"M{x:.4g} {y:.4g}h0" for x, y in places)
        parts.append(f'<path class="s0 cloud" d="{track}"/>')
    return svg(frame.width, frame.height, label, parts)


def shared_axis(name: str, numbers: Iterable[float]) -> Axis:
    """Return a linear axis with room for all *numbers*."""
    low, high = min(numbers := list(numbers)), max(numbers)
    return number_axis(name, [low, high] if low > 0 and high / low <= 100 else [min(low, 0.0), high])


def _at(frame: Frame, point: tuple[float, float]) -> Place:
    return frame.at(frame.x.place(point[0]), frame.y.place(point[1]))


def _line(frame: Frame, series: Series, kind: str, x_name: str) -> list[str]:
    """Return the line in the pieces between values that are not finite, with dots where there are few."""
    shown = _thinned(series.points)
    parts = []
    for is_finite, run in groupby(shown, lambda point: math.isfinite(point[1])):
        piece = list(run)
        if is_finite:
            parts.append(path([_at(frame, point) for point in piece], f"{kind} line"))
    finite = [point for point in shown if math.isfinite(point[1])]
    if len(finite) <= _MOST_DOTS:
        parts += [
            dot(_at(frame, (x, y)), 2.6, kind, f"{series.name} {format_number(y)}, {x_name} {format_number(x)}")
            for x, y in finite
        ]
    return parts


def _thinned(points: Points) -> Points:
    if len(points) <= MOST_POINTS:
        return points
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(MOST_POINTS)]


def _last(points: Points) -> str:
    return format_number(points[-1][1])
