"""Where the seconds went: parts of each row's time, as shares of full training's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from thresher.bench.report.runs import Together
from thresher.bench.report.views import Shown, View
from thresher.bench.summary import charged

PARTS = {
    "training": "forward and backward passes, optimizer steps",
    "data": "making batches and waiting for them",
    "scoring": "scoring forward passes",
    "choosing": "choosing samples, closing epochs, gathering scores",
    "reference": "training and asking a reference model",
}
"""Name of a part -> what it is."""

_INSIDE = ("planning", "closing", "data", "waiting")
"""Parts that lie within the training loop's time. Gathering lies within closing, and scoring within
planning or closing: who scores candidates is choosing."""


class Part(NamedTuple):
    """A piece of a bar.

    Args:
        name: in `PARTS`.
        seconds: mean over seeds.
        start: where it begins, in percent of the longest bar.
        width: in percent of the longest bar.
    """

    name: str
    seconds: float
    start: float
    width: float


class Bar(NamedTuple):
    """A row's time.

    Args:
        shown: the row.
        seconds: in all, mean over seeds; evaluation is apart.
        evaluation: its seconds.
        parts: from the left; without those that took nothing.
    """

    shown: Shown
    seconds: float
    evaluation: float
    parts: list[Part]


def split(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return a run's seconds by part; what the loop did beside the parts inside it is training.

    Example:
        >>> split({"training": 10.0, "data": 1.0, "planning": 0.5, "selecting": 2.0})
        {'training': 8.5, 'data': 1.0, 'scoring': 0.0, 'choosing': 2.5, 'reference': 0.0}
    """

    def total(names: Iterable[str]) -> float:
        return math.fsum(seconds.get(name, 0.0) for name in names)

    return {
        "training": max(0.0, seconds["training"] - total(_INSIDE)),
        "data": total(("data", "waiting")),
        "scoring": total(("scoring",)),
        "choosing": max(0.0, total(("planning", "closing")) - total(("scoring",)))
        + total(("selecting",)),
        "reference": total(("reference", "collecting")),
    }


def bars(group: Together, view: View) -> list[Bar]:
    """Return the time of each row of a view."""
    means = {each: _mean_parts(group.records[each.line.row].values()) for each in view.shown}
    longest = max((math.fsum(parts.values()) for parts in means.values()), default=0.0)
    found: list[Bar] = []
    for each, parts in means.items():
        runs = group.records[each.line.row].values()
        pieces: list[Part] = []
        start = 0.0
        for name, seconds in parts.items():
            width = 100 * seconds / longest if longest else 0.0
            if width > 0.05:
                pieces.append(Part(name, seconds, start, width))
            start += width
        total = _mean(charged(run) for run in runs)
        evaluation = _mean(run["seconds"].get("evaluation", 0.0) for run in runs)
        found.append(Bar(each, total, evaluation, pieces))
    return found


def _mean_parts(runs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    all_of_them = [split(run["seconds"]) for run in runs]
    return {name: _mean(parts[name] for parts in all_of_them) for name in PARTS}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan
