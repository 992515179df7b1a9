"""Finished runs, put together into the lines of the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, final

from thresher.bench.catalogue import has_step_length, is_control
from thresher.bench.front import Point, places
from thresher.bench.looks import alpha_of
from thresher.bench.metrics import metric_of
from thresher.bench.statistics import (
    Difference,
    comparisons,
    resolution,
    standard_deviation,
    verdicts,
)
from thresher.bench.suite import SAME_RATE, SAME_TIME, Row

_Compare = Callable[[Row, Row], "Difference | None"]

Records = Mapping[Row, Mapping[int, Mapping[str, Any]]]
"""The finished runs of each row, by seed."""

_UNKNOWN = {"ratio": math.nan}


@final
@dataclass(frozen=True, kw_only=True)
class Control:
    """How a row does against a way of saving as much that needs no method.

    Args:
        row: the control.
        difference: paired, in points.
        is_beaten: `yes`, `no`, `not shown` or `one seed`.
    """

    row: Row
    difference: Difference
    is_beaten: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: means over seeds.

    Args:
        row: what was run.
        num_seeds: finished runs.
        rate: achieved prune rate.
        samples: trained, in visits.
        reference: samples that a static method's reference model was trained on, in visits.
        extra_forwards: samples that were only scored.
        seconds: of training and of what came before it (`charged`), evaluation apart.
        speed_up: time of full/time of this row, paired by seed; NaN without a common seed.
        flops: operations of this row/those of full, all counted; NaN where runs do not say.
        mean: of the metric, in its unit.
        sd: of the metric over seeds.
        time_share: time of this row/time of full, the median over seeds; NaN as for `speed_up`.
        difference: to full, paired by seed.
        verdict: the word it has earned (`statistics.verdicts`).
        random: against random pruning at the same rate and step length.
        fewer_epochs: against the fewest epochs that train on at least as many samples.
        same_seconds: against the fewest epochs that take at least as long.
        front: whether a row that takes no more time is better (`front.Place.word`).
        front_share: of the resampled tables in which none is (`front.Place.share`).
    """

    row: Row
    num_seeds: int
    rate: float
    samples: float
    reference: float
    extra_forwards: float
    seconds: float
    speed_up: float
    mean: float
    sd: float
    flops: float = math.nan
    time_share: float = math.nan
    difference: Difference | None = None
    verdict: str = "–"
    random: Control | None = None
    fewer_epochs: Control | None = None
    same_seconds: Control | None = None
    front: str = "–"
    front_share: float = math.nan

    @property
    def has_helped(self) -> str:
        """`yes` if it is shown to beat all its controls, `no` if shown to lose to one of them."""
        if self.random is None or self.fewer_epochs is None:
            return "–"
        controls = (self.random, self.fewer_epochs, self.same_seconds)
        words = {control.is_beaten for control in controls if control is not None}
        for word in ("one seed", "no", "not shown"):
            if word in words:
                return word
        return "yes"


def summarise(records: Records, margin: float, looks: Sequence[int] = ()) -> list[Line]:
    """Return the table's lines, in the order of the rows, of those that have a finished run.

    Args:
        records: finished runs by row and seed, `full` among the rows.
        margin: δ, in points.
        looks: the numbers of seeds that were named beforehand, if seeds are added (`looks`).
    """
    step = resolution(gain(run) for runs in records.values() for run in runs.values())
    compare = partial(paired, records=records, step=step)
    lines = [_line(row, runs, records, compare) for row, runs in records.items() if runs]
    alpha = alpha_of(max((line.num_seeds for line in lines), default=0), looks)
    tested = [line for line in lines if line.difference is not None]
    words = verdicts([line.difference for line in tested if line.difference], margin, alpha)
    judged = {line.row: word for line, word in zip(tested, words, strict=True)}
    lines = [replace(line, verdict=judged.get(line.row, "–")) for line in lines]
    for name, control in (
        ("random", _random_control),
        ("fewer_epochs", _fewer_epochs),
        ("same_seconds", _same_seconds),
    ):
        lines = _judged(lines, name, [control(line, lines, compare) for line in lines], alpha)
    return _placed(lines, records, alpha)


def rates(records: Records, num_seeds: int) -> dict[Row, float]:
    """Return the achieved rate, mean over seeds, of every row that has all its seeds."""
    return {
        row: _mean(runs, "prune_rate") for row, runs in records.items() if len(runs) == num_seeds
    }


def time_shares(records: Records, num_seeds: int) -> dict[Row, float]:
    """Return the time of rows that do more than train, as a share of full's (`time_share`).

    They have scored samples that they may not train, or chosen by a model that was trained before.
    What all others cost goes with their samples; a clock would add only its noise. Rows without all
    their seeds are left out.
    """
    return {
        row: _time_share(runs, records)
        for row, runs in records.items()
        if len(runs) == num_seeds and any(map(_does_more, runs.values()))
    }


def _does_more(run: Mapping[str, Any]) -> bool:
    return bool(run.get("extra_forwards") or run.get("reference_samples"))


def charged(run: Mapping[str, Any]) -> float:
    """Return the seconds that a run costs: of training, and of choosing what to train on before it.

    Example:
        >>> charged({"seconds": {"training": 4.0, "evaluation": 1.0, "selecting": 0.5}})
        4.5
    """
    parts = ("reference", "collecting", "selecting", "training")
    return math.fsum(run["seconds"].get(part, 0.0) for part in parts)


def paired(row: Row, control: Row, *, records: Records, step: float = 0.0) -> Difference | None:
    """Return by how much a row is better than another on the seeds that both have finished.

    `step` is the metric's, as for `Difference`.
    """
    ours, theirs = records.get(row, {}), records.get(control, {})
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    return Difference(tuple(gain(ours[seed]) - gain(theirs[seed]) for seed in common), step)


def gain(run: Mapping[str, Any]) -> float:
    """Return a run's metric, turned so that more is better.

    Example:
        >>> gain({"metric": 91.0})
        91.0
    """
    return metric_of(run).gain(float(run["metric"]), 0.0)


def _line(
    row: Row, runs: Mapping[int, Mapping[str, Any]], records: Records, compare: _Compare
) -> Line:
    share = _time_share(runs, records)
    metrics = [run["metric"] for run in runs.values()]
    return Line(
        row=row,
        num_seeds=len(runs),
        rate=_mean(runs, "prune_rate"),
        samples=_mean(runs, "samples_trained"),
        reference=_mean(runs, "reference_samples"),
        extra_forwards=_mean(runs, "extra_forwards"),
        seconds=math.fsum(map(charged, runs.values())) / len(runs),
        speed_up=1 / share if share else math.nan,
        time_share=share,
        mean=math.fsum(metrics) / len(metrics),
        sd=standard_deviation(metrics),
        flops=math.fsum(run.get("flops", _UNKNOWN)["ratio"] for run in runs.values()) / len(runs),
        difference=None if row == FULL else compare(row, FULL),
    )


FULL = Row("full")


def _time_share(runs: Mapping[int, Mapping[str, Any]], records: Records) -> float:
    # The median: one run that something else on the machine held up must not decide.
    full = records.get(FULL, {})
    shares = [charged(run) / charged(full[seed]) for seed, run in runs.items() if seed in full]
    return median(shares) if shares else math.nan


def _mean(runs: Mapping[int, Mapping[str, Any]], name: str) -> float:
    return math.fsum(run.get(name, 0.0) for run in runs.values()) / len(runs)


def _random_control(line: Line, lines: Sequence[Line], compare: _Compare) -> Control | None:
    if is_control(line.row.method):
        return None
    candidates = [
        other
        for other in lines
        if other.row.method == "random"
        and other.row.step_exponent == line.row.step_exponent
        and abs(other.rate - line.rate) <= SAME_RATE
    ]
    if not candidates:
        return None
    return _against(line, min(candidates, key=lambda other: abs(other.rate - line.rate)), compare)


def _fewer_epochs(line: Line, lines: Sequence[Line], compare: _Compare) -> Control | None:
    return _as_dear(line, lines, compare, 1 - line.rate, SAME_RATE)


def _same_seconds(line: Line, lines: Sequence[Line], compare: _Compare) -> Control | None:
    # A run's time goes with its epochs, and these are exact where clocks are not. So does that of a
    # method that does nothing but train.
    if line.extra_forwards > 0 or line.reference > 0:
        return _as_dear(line, lines, compare, line.time_share, SAME_TIME)
    return _as_dear(line, lines, compare, 1 - line.rate, SAME_RATE)


def _as_dear(
    line: Line, lines: Sequence[Line], compare: _Compare, cost: float, tolerance: float
) -> Control | None:
    """Compare with the fewest epochs that cost at least as much: a method must not win by more."""
    # Full too: to a method that saved next to nothing, no fewer epochs cost the same.
    shorter = [other for other in lines if other.row.method in ("full", "fewer-epochs")]
    if not has_step_length(line.row.method) or not shorter or math.isnan(cost):
        return None
    enough = [other for other in shorter if 1 - other.rate >= cost - tolerance]
    dearest = min(shorter, key=lambda other: other.rate)
    return _against(line, max(enough, key=lambda other: other.rate, default=dearest), compare)


def _against(line: Line, control: Line, compare: _Compare) -> Control | None:
    difference = compare(line.row, control.row)
    return None if difference is None else Control(row=control.row, difference=difference)


def _judged(
    lines: list[Line], name: str, controls: Sequence[Control | None], alpha: float
) -> list[Line]:
    words = comparisons([control.difference if control else None for control in controls], alpha)
    return [
        replace(line, **{name: replace(control, is_beaten=word)}) if control else line
        for line, control, word in zip(lines, controls, words, strict=True)
    ]


def _placed(lines: list[Line], records: Records, alpha: float) -> list[Line]:
    """Return the lines with their place on the front, if they have as many seeds as any."""
    most = max((line.num_seeds for line in lines), default=0)
    points = [
        Point(
            line.time_share,
            {seed: gain(run) for seed, run in records[line.row].items()}
            if line.num_seeds == most
            else {},
        )
        for line in lines
    ]
    return [
        replace(line, front=place.word, front_share=place.share)
        for line, place in zip(lines, places(points, alpha), strict=True)
    ]
