"""Small pieces of SVG that follow the colours of the page around them, and a frame with two axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from rich.cells import cell_len

from runner.axes import Axis
from runner.shown import printable

LETTER, LINE = 7.0, 14.0
"""Room for a letter and for a line of text, in the units of the pictures, whose text is 11.5 high."""

MOST_ELEMENTS = 300
"""More dots become one path without tooltips, which is far smaller."""

Place = tuple[float, float]


def svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """Return a picture that scales with the room it has.

    Args:
        width: In units; a unit is about a pixel.
        height: In units.
        label: Says to those who do not see it what it shows.
        parts: What it consists of.
    """
    kind = ' class="wide"' if width > 600 else ""  # a small screen scrolls it sideways
    size = f'{kind} width="{1.35 * width:.0f}" viewBox="0 0 {width:.5g} {height:.5g}"'
    head = f'<svg{size} role="img" aria-label="{_safe(label, 300)}">'
    return "".join([head, *parts, "</svg>"])


def text(place: Place, words: str, kind: str = "", anchor: str = "start", room: float = 1000) -> str:
    """Return one line of text, cut where it needs more than *room*; in full as tooltip then."""
    limit = max(int(room / LETTER), 2)
    shown = printable(words, limit)
    more = f"<title>{_safe(words, 300)}</title>" if shown != words else ""
    x, y = place
    return f'<text class="{kind}" x="{x:.5g}" y="{y:.5g}" text-anchor="{anchor}">{escape(shown)}{more}</text>'


def line(start: Place, end: Place, kind: str) -> str:
    """Return a straight line."""
    return path([start, end], kind)


def path(places: Sequence[Place], kind: str, title: str = "") -> str:
    """Return a line through all *places*."""
    track = "M" + "L".join(f"{x:.5g} {y:.5g}" for x, y in places)
    return _shape("path", f'd="{track}"', kind, title)


def dot(place: Place, radius: float, kind: str, title: str = "") -> str:
    """Return a filled circle."""
    return _shape("circle", f'cx="{place[0]:.5g}" cy="{place[1]:.5g}" r="{radius:.5g}"', kind, title)


def cross(place: Place, kind: str, title: str = "", size: float = 3) -> str:
    """Return an x."""
    x, y = place
    track = f"M{x - size:.5g} {y - size:.5g}l{2 * size} {2 * size}m0 {-2 * size}l{-2 * size} {2 * size}"
    return _shape("path", f'd="{track}"', kind, title)


def bar(place: Place, width: float, height: float, kind: str) -> str:
    """Return a rectangle with its upper left corner at *place*."""
    x, y = place
    return _shape("rect", f'x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:.5g}" rx="2"', kind, "")


def dots(places: Sequence[tuple[Place, str, str]]) -> list[str]:
    """Return dots at places, each with CSS class and tooltip; one path per class where they are many."""
    if len(places) <= MOST_ELEMENTS:
        return [dot(place, 3.4, kind, title) for place, kind, title in places]
    tracks: dict[str, list[str]] = {}
    for (x, y), kind, _ in places:
        tracks.setdefault(kind, []).append(f"M{x:.5g} {y:.5g}h0")  # a round end of no line is a dot
    return [_shape("path", f'd="{"".join(track)}"', f"{kind} points", "") for kind, track in tracks.items()]


@dataclass(frozen=True)
class Frame:
    """A rectangle with an axis below it and one to its left, whose name stands above it."""

    width: float
    height: float
    x: Axis
    y: Axis
    x_name: str
    y_name: str

    @cached_property
    def left(self) -> float:
        """Room for the labels of the y axis."""
        widest = max((cell_len(label) for _, label in self.y.ticks), default=0)
        return min(18 + widest * LETTER, self.width * 0.42)

    def at(self, x: float, y: float) -> Place:
        """Return the point that lies at *x* and *y*, from 0 to 1, on the axes."""
        left, right, top, bottom = self.left + 10, self.width - 14, self._top, self._floor - 8
        return left + (right - left) * x, bottom - (bottom - top) * y

    @property
    def _top(self) -> float:
        return 30.0 if self.y_name else 12.0

    @property
    def _floor(self) -> float:
        return self.height - (38 if self.x_name else 22)

    def drawn(self) -> list[str]:
        """Return the axes with their ticks and names."""
        parts = [text((4, 13), self.y_name, "name", room=self.width - 8)]
        parts.append(text((self.width - 6, self.height - 6), self.x_name, "name", "end", self.width - 12))
        end, floor = self.width - 4, self._floor
        for place, label in spaced(self.y.ticks, lambda _: LINE - 1, self.at(0, 0)[1] - self.at(0, 1)[1]):
            height = self.at(0, place)[1]
            parts.append(line((self.left, height), (end, height), "grid"))
            parts.append(text((self.left - 5, height + 4), label, "tick", "end", self.left - 8))
        across = self.at(1, 0)[0] - self.at(0, 0)[0]
        for place, label in spaced(self.x.ticks, lambda each: cell_len(each) * LETTER + 8, across):
            x = self.at(place, 0)[0]
            parts.append(line((x, floor), (x, floor + 4), "axis"))
            middle = min(x, self.width - 2 - cell_len(label) * LETTER / 2)  # or the picture's edge would cut it
            parts.append(text((middle, floor + 16), label, "tick", "middle"))
        return [*parts, line((self.left, floor), (end, floor), "axis")]


def spaced(ticks: Iterable[tuple[float, str]], room: Callable[[str], float], length: float) -> list[tuple[float, str]]:
    """Return the ticks without those whose labels, which need *room*, would touch the one before.

    Args:
        ticks: Places from 0 to 1, ascending, with labels.
        room: Returns what a label needs along the axis.
        length: Of the axis.
    """
    kept: list[tuple[float, str]] = []
    for place, label in ticks:
        if not kept or (place - kept[-1][0]) * length >= (room(label) + room(kept[-1][1])) / 2:
            kept.append((place, label))
    return kept


def _shape(tag: str, attributes: str, kind: str, title: str) -> str:
    if not title:
        return f'<{tag} class="{kind}" {attributes}/>'
    return f'<{tag} class="{kind}" {attributes}><title>{_safe(title, 300)}</title></{tag}>'


def _safe(words: str, limit: int) -> str:
    return escape(printable(words, limit))
