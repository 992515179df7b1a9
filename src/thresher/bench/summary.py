"""Finished runs, put together into the lines of the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from thresher.bench.catalogue import has_step_length, is_control
from thresher.bench.metrics import metric_of
from thresher.bench.statistics import (
    Difference,
    comparisons,
    standard_deviation,
    verdicts,
)
from thresher.bench.suite import Row

Records = Mapping[Row, Mapping[int, Mapping[str, Any]]]
"""The finished runs of each row, by seed."""

_UNKNOWN = {"ratio": math.nan}

_SAME_RATE = 0.0101
"""How far the rates of a method and of its random control may be apart (0.01, and rounding)."""


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
        difference: to full, paired by seed.
        verdict: the word it has earned (`statistics.verdicts`).
        random: against random pruning at the same rate and step length.
        fewer_epochs: against the number of epochs of the same cost.
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
    difference: Difference | None = None
    verdict: str = "–"
    random: Control | None = None
    fewer_epochs: Control | None = None

    @property
    def has_helped(self) -> str:
        """`yes` if it is shown to beat both controls, `no` if shown to lose to one of them."""
        if self.random is None or self.fewer_epochs is None:
            return "–"
        words = {self.random.is_beaten, self.fewer_epochs.is_beaten}
        for word in ("one seed", "no", "not shown"):
            if word in words:
                return word
        return "yes"


def summarise(records: Records, margin: float) -> list[Line]:
    """Return the table's lines, in the order of the rows, of those that have a finished run.

    Args:
        records: finished runs by row and seed, `full` among the rows.
        margin: δ, in points.
    """
    lines = [_line(row, runs, records) for row, runs in records.items() if runs]
    tested = [line for line in lines if line.difference is not None]
    words = verdicts([line.difference for line in tested if line.difference], margin)
    judged = {line.row: word for line, word in zip(tested, words, strict=True)}
    lines = [replace(line, verdict=judged.get(line.row, "–")) for line in lines]
    lines = _judged(lines, "random", [_random_control(line, lines, records) for line in lines])
    return _judged(lines, "fewer_epochs", [_fewer_epochs(line, lines, records) for line in lines])


def rates(records: Records, num_seeds: int) -> dict[Row, float]:
    """Return the achieved rate, mean over seeds, of every row that has all its seeds."""
    return {
        row: _mean(runs, "prune_rate") for row, runs in records.items() if len(runs) == num_seeds
    }


def charged(run: Mapping[str, Any]) -> float:
    """Return the seconds that a run costs: of training, and of choosing what to train on before it.

    Example:
        >>> charged({"seconds": {"training": 4.0, "evaluation": 1.0, "selecting": 0.5}})
        4.5
    """
    parts = ("reference", "collecting", "selecting", "training")
    return math.fsum(run["seconds"].get(part, 0.0) for part in parts)


def paired(row: Row, control: Row, records: Records) -> Difference | None:
    """Return how much better the metric is, on each seed that both rows have finished."""
    ours, theirs = records.get(row, {}), records.get(control, {})
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    gain = metric_of(ours[common[0]]).gain
    pairs = ((ours[seed]["metric"], theirs[seed]["metric"]) for seed in common)
    return Difference(tuple(gain(*pair) for pair in pairs))


def _line(row: Row, runs: Mapping[int, Mapping[str, Any]], records: Records) -> Line:
    full = records.get(FULL, {})
    ratios = [charged(full[seed]) / charged(run) for seed, run in runs.items() if seed in full]
    metrics = [run["metric"] for run in runs.values()]
    return Line(
        row=row,
        num_seeds=len(runs),
        rate=_mean(runs, "prune_rate"),
        samples=_mean(runs, "samples_trained"),
        reference=_mean(runs, "reference_samples"),
        extra_forwards=_mean(runs, "extra_forwards"),
        seconds=math.fsum(map(charged, runs.values())) / len(runs),
        speed_up=math.fsum(ratios) / len(ratios) if ratios else math.nan,
        mean=math.fsum(metrics) / len(metrics),
        sd=standard_deviation(metrics),
        flops=math.fsum(run.get("flops", _UNKNOWN)["ratio"] for run in runs.values()) / len(runs),
        difference=None if row == FULL else paired(row, FULL, records),
    )


FULL = Row("full")


def _mean(runs: Mapping[int, Mapping[str, Any]], name: str) -> float:
    return math.fsum(run.get(name, 0.0) for run in runs.values()) / len(runs)


def _random_control(line: Line, lines: Sequence[Line], records: Records) -> Control | None:
    if is_control(line.row.method):
        return None
    candidates = [
        other
        for other in lines
        if other.row.method == "random"
        and other.row.step_exponent == line.row.step_exponent
        and abs(other.rate - line.rate) <= _SAME_RATE
    ]
    return _nearest(line, candidates, records)


def _fewer_epochs(line: Line, lines: Sequence[Line], records: Records) -> Control | None:
    if not has_step_length(line.row.method):
        return None
    # Full too: to a method that saved next to nothing, no fewer epochs cost the same.
    candidates = [other for other in lines if other.row.method in ("full", "fewer-epochs")]
    return _nearest(line, candidates, records)


def _nearest(line: Line, candidates: Sequence[Line], records: Records) -> Control | None:
    if not candidates:
        return None
    # Of two equally near, the cheaper one: the comparison must not flatter the control.
    best = min(candidates, key=lambda other: (round(abs(other.rate - line.rate), 6), other.samples))
    difference = paired(line.row, best.row, records)
    return None if difference is None else Control(row=best.row, difference=difference)


def _judged(lines: list[Line], name: str, controls: Sequence[Control | None]) -> list[Line]:
    words = comparisons([control.difference if control else None for control in controls])
    return [
        replace(line, **{name: replace(control, is_beaten=word)}) if control else line
        for line, control, word in zip(lines, controls, words, strict=True)
    ]
