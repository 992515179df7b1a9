"""The table of a task as the page has it: cells as texts, and a strip for each interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from thresher.bench.catalogue import is_control
from thresher.bench.metrics import Metric
from thresher.bench.panels import bar, limits
from thresher.bench.report.drawing import Scale
from thresher.bench.report.sentences import kind_of
from thresher.bench.report.views import gain, near, percent, row_name
from thresher.bench.summary import FULL, Control, Line
from thresher.bench.table import difference, duration, mean_sd, place_on_front, signed

STRIP = 170.0
"""Width of a strip."""


class Strip(NamedTuple):
    """A difference and its interval on a line, in the places of a canvas that is `STRIP` wide.

    Args:
        zero: where full training is.
        margin: where the loss is that would be accepted.
        middle: of the difference, at the edge if it lies beyond.
        low: end of the interval.
        high: end of the interval.
        beyond: `left` or `right` if the difference itself is not on the canvas.
    """

    zero: float
    margin: float
    middle: float
    low: float
    high: float
    beyond: str


class Opponent(NamedTuple):
    """A row's difference to a control.

    Args:
        text: of it, with a mark where it is shown.
        value: the same as a number; NaN without the control, or if a run diverged.
    """

    text: str
    value: float


class Cells(NamedTuple):
    """A row of the table.

    Args:
        name: of the row.
        is_control: whether it is one.
        line: its numbers, to sort by.
        step_length: in words.
        saved: share of the visits.
        samples: trained.
        time: as a share of full's.
        seconds: the time itself.
        flops: operations, as a share of full's.
        metric: mean and spread.
        difference: with its interval.
        gain: the difference as a number, to sort by.
        strip: the same as a picture; None without a difference.
        verdict: the word.
        kind: its first word.
        random: against random pruning.
        fewer: against fewer epochs, on as many samples.
        same_time: against fewer epochs that took as long.
        front: whether nothing beats it, and how often.
    """

    name: str
    is_control: bool
    line: Line
    step_length: str
    saved: str
    samples: str
    time: str
    seconds: str
    flops: str
    metric: str
    difference: str
    gain: float
    strip: Strip | None
    verdict: str
    kind: str
    random: Opponent
    fewer: Opponent
    same_time: Opponent
    front: str


class Part(NamedTuple):
    """The rows of one ratio.

    Args:
        title: above them.
        rows: of the table.
    """

    title: str
    rows: list[Cells]


def parts_of(lines: Sequence[Line], measure: Metric, margin: float) -> list[Part]:
    """Return the table's rows by the ratio that was asked, each with its cells."""
    scale = _scale(lines, margin)
    found: list[Part] = []
    for ratio, rows in groupby(lines, key=_ratio):
        found.append(Part(ratio, [_cells(line, measure, margin, scale) for line in rows]))
    return found


def _ratio(line: Line) -> str:
    if line.row.is_added:
        return "Added: the same share saved as a method did, or as many epochs"
    ratio = line.row.prune_ratio
    return "Full training" if ratio is None else f"{percent(ratio)} of the visits to be saved"


def _scale(lines: Sequence[Line], margin: float) -> Scale:
    known = [line for line in lines if not math.isnan(gain(line))]
    shown = near([gain(line) for line in known], margin)
    ends = [-margin, margin]
    for line in known:
        down, up = bar(line)
        ends += [gain(line) - down, gain(line) + up] if gain(line) in shown else []
    return Scale(*limits([0.0, *shown], ends, 2 * margin), 4.0, STRIP - 4.0)


def _cells(line: Line, measure: Metric, margin: float, scale: Scale) -> Cells:
    is_full, digits = line.row == FULL, measure.digits
    return Cells(
        name=row_name(line.row),
        is_control=is_control(line.row.method),
        line=line,
        step_length=line.row.step_length,
        saved="–" if is_full else percent(line.rate, 1),
        samples=f"{line.samples:,.0f}",
        flops=percent(line.flops),
        time=percent(line.time_share),
        seconds=duration(line.seconds),
        metric=mean_sd(line, digits),
        difference=difference(line, digits),
        gain=0.0 if is_full else gain(line),
        strip=None if math.isnan(gain(line)) else _strip(line, margin, scale),
        verdict="" if is_full else line.verdict,
        kind=kind_of(line),
        random=_control(line.random, digits),
        fewer=_control(line.fewer_epochs, digits),
        same_time=_control(line.same_seconds, digits),
        front=place_on_front(line),
    )


def _control(control: Control | None, digits: int) -> Opponent:
    if control is None or math.isnan(control.difference.mean):
        return Opponent("–", math.nan)
    mark = {"yes": " ✓", "no": " ✗"}.get(control.is_beaten, "")
    mean = control.difference.mean
    return Opponent(f"{signed(mean, digits)}{mark}", mean)


def _strip(line: Line, margin: float, scale: Scale) -> Strip:
    def place(value: float) -> float:
        return round(min(max(scale(value), 0.0), STRIP), 2)

    middle, (down, up) = gain(line), bar(line)
    beyond = "left" if middle < scale.low else "right" if middle > scale.high else ""
    return Strip(
        zero=place(0.0),
        margin=place(-margin),
        middle=min(max(place(middle), 4.0), STRIP - 4.0),
        low=place(middle - down),
        high=place(middle + up),
        beyond=beyond,
    )
