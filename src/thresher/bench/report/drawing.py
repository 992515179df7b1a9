"""Charts as geometry: numbers in, places on a small canvas out; `charts.html` turns them into SVG.

A canvas is about as wide as a phone, so that its text can be read there, and on a larger screen
several stand side by side. Colours are classes, which the style sheet gives a light and a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

WIDTH, HEIGHT = 380.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 12.0, 40.0


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between two limits, at most so many.

    Example:
        >>> ticks(0.0, 1.0), ticks(-3.2, 0.4)
        ([0.0, 0.25, 0.5, 0.75, 1.0], [-3.0, -2.0, -1.0, 0.0])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    unit = 10 ** math.floor(math.log10(span / most))
    for step in (unit * each for each in (1, 2, 2.5, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]
    return [low, high]


def tick_text(value: float, all_of_them: Sequence[float]) -> str:
    """Return a number with as many digits as its neighbours need, and a true minus.

    Example:
        >>> [tick_text(value, [0.0, 0.25, 0.5]) for value in (0.25, 0.5)]
        ['0.25', '0.50']
    """
    digits = max((len(f"{each:.6f}".rstrip("0").split(".")[1]) for each in all_of_them), default=0)
    return f"{value:,.{digits}f}".replace("-", "−")


@final
@dataclass(frozen=True)
class Scale:
    """A linear map from values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


@final
@dataclass(frozen=True)
class Mark:
    """Something drawn: a path or a point, with the classes that style it.

    Args:
        kind: `path`, `dot`, `number` (a dot with one in it), `up` or `down` (arrows).
        style: classes.
        path: of a path, in SVG's language.
        x: of a point.
        y: of a point.
        text: what a pointer that rests on it is told.
        number: in a `number`.
    """

    kind: str
    style: str
    path: str = ""
    x: float = 0.0
    y: float = 0.0
    text: str = ""
    number: str = ""


@final
@dataclass(kw_only=True)
class Chart:
    """A chart in the making; the template reads what was drawn, and cuts lines at the frame.

    Args:
        title: above it.
        alt: what one would say of it to somebody who does not see it.
        x: limits of the horizontal axis.
        y: limits of the vertical axis.
        x_label: below.
        y_label: above the vertical axis.
        height: of the canvas.
        left: room for the vertical axis.
        keys: what the numbers in the chart stand for, from 1.
    """

    title: str
    alt: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    height: float = HEIGHT
    width: float = WIDTH
    left: float = _LEFT
    keys: list[str] = field(default_factory=list[str])
    marks: list[Mark] = field(default_factory=list[Mark])

    def __post_init__(self) -> None:
        self.right, self.top = self.width - _RIGHT, _TOP + (14 if self.y_label else 0)
        self.bottom = self.height - (_BOTTOM if self.x_label else 24)
        self.across = Scale(*self.x, self.left, self.right)
        self.up = Scale(*self.y, self.bottom, self.top)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the horizontal axis."""
        found = ticks(*self.x)
        return [(self.across(value), tick_text(value, found)) for value in found]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the vertical axis."""
        found = ticks(*self.y)
        return [(self.up(value), tick_text(value, found)) for value in found]

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str, text: str = "") -> None:
        """Draw a line through the points that are numbers."""
        places = [
            f"{self.across(x):.1f} {self.up(y):.1f}"
            for x, y in zip(xs, ys, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ]
        if places:
            self.marks.append(Mark("path", f"line {style}", f"M{' L'.join(places)}", text=text))

    def area(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: str
    ) -> None:
        """Fill the room between two curves."""
        rows = [row for row in zip(xs, lows, highs, strict=True) if all(map(math.isfinite, row))]
        if len(rows) < 2:
            return
        edge = [(x, high) for x, _, high in rows] + [(x, low) for x, low, _ in reversed(rows)]
        places = [f"{self.across(x):.1f} {self.up(y):.1f}" for x, y in edge]
        self.marks.append(Mark("path", f"area {style}", f"M{' L'.join(places)}Z"))

    def band(self, low: float, high: float, style: str) -> None:
        """Fill a band from edge to edge."""
        self.area(self.x, [low, low], [high, high], style)

    def box(self, low: float, high: float, value: float, style: str, text: str = "") -> None:
        """Draw a column that stands on the axis."""
        left, right = self.across(low), self.across(high)
        top, ground = self.up(value), self.up(self.y[0])
        path = f"M{left:.2f} {ground:.2f}V{top:.2f}H{right:.2f}V{ground:.2f}Z"
        self.marks.append(Mark("path", f"column {style}", path, text=text))

    def point(self, x: float, y: float, style: str, text: str, key: str = "") -> None:
        """Draw a point; one beyond the vertical limits becomes an arrow at the edge.

        With a key it gets a number, and the list below the chart says what it stands for.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        inside = min(max(y, self.y[0]), self.y[1])
        kind = "dot" if inside == y else "down" if y < inside else "up"
        number = ""
        if key:
            self.keys.append(key)
            kind, number = "number", f"{len(self.keys)}"
        across, up = self.across(x), self.up(inside)
        self.marks.append(Mark(kind, style, x=across, y=up, text=text, number=number))


def framed(values: Sequence[float], least: float, room: float = 0.06) -> tuple[float, float]:
    """Return limits that hold all numbers among the values, with some room, and a least span.

    Example:
        >>> low, high = framed([1.0, float("nan"), 2.0], least=0.5)
        >>> round(low, 2), round(high, 2)
        (0.94, 2.06)
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    lacking = max(0.0, least - (high - low)) / 2
    margin = room * max(high - low, least)
    return low - lacking - margin, high + lacking + margin
