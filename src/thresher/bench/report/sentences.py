"""What the runs show, in words that need no table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from thresher.bench.catalogue import is_control
from thresher.bench.metrics import Metric
from thresher.bench.report.views import from_best, gain, main_ratio, percent, spoken
from thresher.bench.summary import Control, Line
from thresher.bench.table import has_own_time

KINDS = ("better", "lossless", "undecided", "worse", "diverged", "one seed")
"""Verdicts, from the best."""

_MEANS = {
    "better": "better than full training",
    "lossless": "shown to be lossless",
    "undecided": "undecided (these seeds do not show which)",
    "worse": "shown to be worse",
    "diverged": "without a number to judge, as a run diverged",
    "one seed": "not tested, as there is one seed",
}


def kind_of(line: Line) -> str:
    """Return a line's verdict without its addition; empty where nothing was judged."""
    kind = line.verdict.partition(" (")[0]
    return kind if kind in KINDS else ""


def methods_of(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that are not controls."""
    return [line for line in lines if not is_control(line.row.method)]


def tally(lines: Sequence[Line]) -> dict[str, int]:
    """Return how many methods' rows have earned each verdict, from the best; none of zero."""
    kinds = [kind_of(line) for line in methods_of(lines)]
    return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}


def summary(lines: Sequence[Line], measure: Metric, margin: float) -> list[str]:
    """Return the sentences about a task: its best rows, what was shown, and what helped.

    Args:
        lines: of the table.
        measure: of the metric.
        margin: δ, in points.
    """
    methods = methods_of(lines)
    if not methods:
        return ["There are no runs of a method here, only of full training and its controls."]
    return [*_best(methods, measure), *_shown(methods, measure, margin), *_helped(methods)]


def _best(methods: Sequence[Line], measure: Metric) -> Iterator[str]:
    """At the ratio nearest to one half in detail; at the others in short."""
    main = main_ratio(methods)
    ratios = sorted({line.row.prune_ratio or 0.0 for line in methods})
    for ratio in sorted(ratios, key=lambda each: each != main):
        rows = [line for line in methods if line.row.prune_ratio == ratio]
        known = [line for line in from_best(rows) if not math.isnan(gain(line))]
        if not known:
            continue
        best = known[0]
        yield in_words(best, measure)
        if ratio == main:
            yield from _opponents(best, measure)


def in_words(line: Line, measure: Metric) -> str:
    """Return what one row did, in one sentence."""
    row = line.row
    asked = "" if row.prune_ratio is None else f"At {percent(row.prune_ratio)}, "
    length = "" if row.step_exponent is None else f" with γ = {row.step_exponent:g}"
    saved = f"{percent(line.rate)} fewer samples" if line.rate >= 0.005 else "all samples"
    time = ""
    if line.time_share > 0:
        time = f", in {percent(line.time_share)} of full training's time"
    return (
        f"{asked}{spoken(row.method)}{length} trained {saved} and "
        f"{changed(gain(line), measure)} ({_judged(line, measure)}){time}."
    )


def changed(difference: float, measure: Metric) -> str:
    """Return a difference as a person says it.

    Example:
        >>> from thresher.bench.metrics import ACCURACY
        >>> changed(-0.33, ACCURACY), changed(0.1, ACCURACY), changed(0.0, ACCURACY)
        ('lost 0.33 points', 'gained 0.10 points', 'lost nothing')
    """
    size = f"{abs(difference):.{measure.digits}f}"
    if float(size) == 0:
        return "lost nothing"
    return f"{'gained' if difference > 0 else 'lost'} {size} {measure.points}"


def _judged(line: Line, measure: Metric) -> str:
    interval = line.difference.interval() if line.difference is not None else None
    if interval is None:
        return "one seed, so nothing is shown"
    low, high = (f"{end:+.{measure.digits}f}".replace("-", "−") for end in interval)
    return f"95\xa0% interval {low} to {high}: {line.verdict}"


def _opponents(line: Line, measure: Metric) -> Iterator[str]:
    """Say what saving as much without a method would have done."""
    if line.random is None or line.fewer_epochs is None:
        return
    parts = [
        f"Against random pruning that saved as much it is {_against(line.random, measure)}",
        f"against fewer epochs on as many samples {_against(line.fewer_epochs, measure)}",
    ]
    if line.same_seconds is not None and has_own_time(line):
        parts.append(
            f"against fewer epochs that took as long {_against(line.same_seconds, measure)}"
        )
    yield f"{'; '.join(parts)}."


def _against(control: Control, measure: Metric) -> str:
    mean = control.difference.mean
    if math.isnan(mean):
        return "not to be compared, as a run diverged"
    size = f"{abs(mean):.{measure.digits}f} {measure.points}"
    way = "ahead" if mean > 0 else "behind"
    words = {
        "yes": " (shown)",
        "no": " (shown)",
        "not shown": " (not shown to be more than chance)",
    }
    return f"{size} {way}{words.get(control.is_beaten, ' (one seed)')}"


def _shown(methods: Sequence[Line], measure: Metric, margin: float) -> Iterator[str]:
    counts = tally(methods)
    if not counts:
        return
    parts = [
        f"{number} {'is' if number == 1 else 'are'} {_MEANS[kind]}"
        for kind, number in counts.items()
    ]
    rows = f"Of {len(methods)} rows of methods" if len(methods) > 1 else "Of one row of a method"
    yield (
        f"{rows}, {_listed(parts)}. "
        f"Lossless means: at most {margin:g} {measure.points} below full, with 95\xa0% confidence "
        "over the whole table."
    )


def _helped(methods: Sequence[Line]) -> Iterator[str]:
    helped = [line for line in methods if line.has_helped == "yes"]
    judged = [line for line in methods if line.has_helped in ("yes", "no", "not shown")]
    if not judged:
        return
    named = [f"{spoken(line.row.method)} at {line.row.prune_ratio:g}" for line in helped]
    names = f" ({_listed(named)})" if named else ""
    shown = f"{len(helped)} of {len(judged)} rows{names} are" if helped else "None of them is"
    yield (
        f"{shown} shown to beat both "
        "random pruning and fewer epochs; a method that does not has not been shown to help."
    )


def _listed(parts: Sequence[str]) -> str:
    """Return the parts as an enumeration.

    Example:
        >>> _listed(["one", "two", "three"])
        'one, two and three'
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
