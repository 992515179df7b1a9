"""What a chart shows at once: the rows of one prune ratio and step length, each with a style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from thresher.bench.catalogue import class_name, has_step_length, is_control
from thresher.bench.spelling import base_name
from thresher.bench.suite import Row
from thresher.bench.summary import FULL, Line

MOST_METHODS = 6
"""More curves than this have no colours that all eyes tell apart."""

_CONTROLS = {"full": "full", "random": "random", "fewer-epochs": "fewer"}


class Shown(NamedTuple):
    """A row in a chart.

    Args:
        line: of the table.
        style: the class of its colour and dashes.
        name: in the legend.
    """

    line: Line
    style: str
    name: str


class View(NamedTuple):
    """The rows of one prune ratio and one step length.

    Args:
        ratio: that was asked.
        step_length: of all rows that have one.
        shown: the rows that are drawn, controls first.
        left_out: names of the methods that are not.
    """

    ratio: float
    step_length: str
    shown: list[Shown]
    left_out: list[str]

    @property
    def title(self) -> str:
        """What the rows have in common, in words."""
        length = "" if self.step_length in ("published", "–") else f", γ = {self.step_length}"
        return f"{percent(self.ratio)} of the visits to be saved{length}"


def spoken(method: str) -> str:
    """Return a method's name as one would say it: its class's if that is the same word.

    Example:
        >>> spoken("orderdp"), spoken("fewer-epochs"), spoken("repb(rule=importance())")
        ('OrderDP', 'fewer epochs', 'RePB (rule=importance())')
    """
    name, settings = base_name(method), method.partition("(")[2].removesuffix(")")
    kind = class_name(name)
    known = {"random": "random pruning", "fewer-epochs": "fewer epochs", "full": "full"}
    said = kind if kind.lower() == name.replace("-", "") else name
    said = known.get(name, said)
    return f"{said} ({settings})" if settings else said


def percent(share: float, digits: int = 0) -> str:
    r"""Return a share in percent.

    A line never breaks before the sign.

    Example:
        >>> percent(0.5), percent(0.4567, 1)
        ('50\xa0%', '45.7\xa0%')
    """
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}\xa0%"


def gain(line: Line) -> float:
    """Return the mean difference to full, NaN where there is none."""
    return line.difference.mean if line.difference is not None else math.nan


def near(gains: Sequence[float], margin: float) -> list[float]:
    """Return the differences, ascending, without losses far beyond the usual one.

    One row that fails must not make all others a dot: a picture's scale is made of these.

    Example:
        >>> near([-0.4, -60.0, 0.1, -1.0], margin=0.5)
        [-1.0, -0.4, 0.1]
    """
    ordered = sorted(gain for gain in gains if not math.isnan(gain))
    if not ordered:
        return []
    farthest = min(-6 * margin, 3 * ordered[len(ordered) // 2])
    return [each for each in ordered if each >= farthest]


def from_best(lines: Sequence[Line]) -> list[Line]:
    """Return lines from the largest difference to the smallest; unknown ones last."""
    return sorted(lines, key=lambda line: (math.isnan(gain(line)), -gain(line)))


def main_ratio(lines: Sequence[Line]) -> float | None:
    """Return the ratio that is nearest to one half, of those that methods were asked for."""
    asked = {line.row.prune_ratio for line in lines if not line.row.is_added} - {None}
    return min((each for each in asked if each is not None), key=_from_half, default=None)


def _from_half(ratio: float) -> tuple[float, float]:
    return abs(ratio - 0.5), ratio


def views_of(lines: Sequence[Line]) -> list[View]:
    """Return all views, the main one first."""
    pruned = [line for line in lines if line.row.prune_ratio is not None and not line.row.is_added]
    keys = dict.fromkeys(
        (line.row.prune_ratio or 0.0, line.row.step_length)
        for line in pruned
        if has_step_length(line.row.method)
    ) or dict.fromkeys((line.row.prune_ratio or 0.0, "–") for line in pruned)
    ordered = sorted(keys, key=lambda key: (key[1] != "published", key[1], *_from_half(key[0])))
    return [_view(ratio, length, lines) for ratio, length in ordered]


def _view(ratio: float, length: str, lines: Sequence[Line]) -> View:
    rows = [
        line
        for line in lines
        if not (is_control(line.row.method) and line.row.method not in _CONTROLS)
        if line.row == FULL
        or (
            line.row.prune_ratio == ratio
            and not line.row.is_added
            and line.row.step_length in (length, "–")
        )
    ]
    controls = [line for line in rows if line.row.method in _CONTROLS]
    methods = from_best([line for line in rows if line.row.method not in _CONTROLS])
    # In the table's order, so that a method has the same colour wherever the same six are shown.
    best = {line.row for line in methods[:MOST_METHODS]}
    chosen = [line for line in rows if line.row in best]
    shown = [Shown(line, _CONTROLS[line.row.method], spoken(line.row.method)) for line in controls]
    shown += [Shown(line, f"m{k}", spoken(line.row.method)) for k, line in enumerate(chosen)]
    return View(ratio, length, shown, [spoken(each.row.method) for each in methods[MOST_METHODS:]])


def row_name(row: Row) -> str:
    """Return a row's name with the rate of an added control."""
    return f"{spoken(row.method)}{row.label.removeprefix(row.method)}"
