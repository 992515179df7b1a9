"""What the pictures share: inks, a panel for each step length, bars, and limits of an axis."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.bench.catalogue import has_step_length
from thresher.bench.metrics import Metric
from thresher.bench.summary import FULL, Line

INK, MUTED, RULE, PALE = "#222222", "#767676", "#DDDDDD", "#E9EEF2"


def by_step_length(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return what is drawn for each step length; rows without one are in every panel.

    `full` is a line across each panel and not among them; nor are added controls, which stand at
    rates that nobody asked for.
    """
    lengths = dict.fromkeys(
        line.row.step_length for line in lines if has_step_length(line.row.method)
    )
    shown = [line for line in lines if line.row != FULL and not line.row.is_added]
    return {
        length: [
            line
            for line in shown
            if not has_step_length(line.row.method) or line.row.step_length == length
        ]
        for length in lengths or {"": None}
    }


def step_length_title(step_length: str) -> str:
    """Return the heading of a panel."""
    return (
        "published step length" if step_length == "published" else f"step length γ = {step_length}"
    )


def below(metric: Metric) -> str:
    """Return on which side of full training a row is worse."""
    return "below" if metric.higher_is_better else "above"


def bar(line: Line) -> tuple[float, float]:
    """Return how far the 95 % interval of the difference to full reaches down and up.

    (0, 0) if there is none, as with one seed.
    """
    interval = line.difference.interval() if line.difference is not None else None
    if interval is None or line.difference is None:
        return 0.0, 0.0
    return line.difference.mean - interval[0], interval[1] - line.difference.mean


def limits(means: Sequence[float], ends: Sequence[float], least: float) -> tuple[float, float]:
    """Frame all means and the ends of their bars, but let no wide bar squeeze everything else.

    Bars that reach further than three quarters of the means' range beyond the means are cut.

    Args:
        means: where points are.
        ends: of bars, and what else should be seen.
        least: the range that is taken for the means' if they are nearer to each other.

    Example:
        >>> low, high = limits([0.0, 1.0], [-9.0, 1.2], least=0.5)
        >>> round(low, 3), round(high, 3)
        (-0.867, 1.317)
    """
    lowest, highest = min(means), max(means)
    beyond = 0.75 * max(highest - lowest, least)
    low = max(min(lowest, *ends), lowest - beyond)
    high = min(max(highest, *ends), highest + beyond)
    room = 0.06 * (high - low)
    return low - room, high + room
