"""Cost against quality: which rows nothing beats in both, in samples and in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from thresher.bench.catalogue import is_control
from thresher.bench.metrics import Metric
from thresher.bench.panels import limits
from thresher.bench.report.drawing import Chart
from thresher.bench.report.views import gain, near, percent, row_name
from thresher.bench.summary import FULL, Line
from thresher.bench.table import signed

Cost = Callable[[Line], float]


def front(lines: Sequence[Line], cost: Cost) -> list[Line]:
    """Return the lines that no other one beats in cost and quality together, cheapest first.

    By means: whether a step of the front is more than chance, the verdicts say.
    """
    known = [line for line in lines if math.isfinite(cost(line)) and math.isfinite(quality(line))]
    found: list[Line] = []
    for line in sorted(known, key=lambda line: (cost(line), -quality(line))):
        if not found or quality(line) > quality(found[-1]):
            found.append(line)
    return found


def quality(line: Line) -> float:
    """Return the mean difference to full; full's own is 0."""
    return 0.0 if line.row == FULL else gain(line)


def fronts(lines: Sequence[Line], measure: Metric, margin: float) -> list[Chart]:
    """Return the picture of all rows by samples and by time; none without a full run."""
    full = next((line for line in lines if line.row == FULL), None)
    if full is None or len(lines) < 2:
        return []
    costs: dict[str, Cost] = {
        "samples": lambda line: 100 * (line.samples + line.reference) / full.samples,
        "time": lambda line: 100 * line.time_share,
    }
    words = {
        "samples": "samples trained, % of full training",
        "time": "training time, % of full training",
    }
    if not any(math.isnan(line.flops) for line in lines):
        # They count what was only scored, too.
        costs = {"flops": lambda line: 100 * line.flops, "time": costs["time"]}
        words["flops"] = "operations (FLOPs), % of full training"
    return [_chart(lines, cost, words[name], measure, margin) for name, cost in costs.items()]


def _chart(lines: Sequence[Line], cost: Cost, label: str, measure: Metric, margin: float) -> Chart:
    known = [line for line in lines if math.isfinite(cost(line)) and math.isfinite(quality(line))]
    best = front(known, cost)
    names = ", ".join(f"{row_name(line.row)} {signed(quality(line))}" for line in best)
    costs, gains = [cost(line) for line in known], [quality(line) for line in known]
    chart = Chart(
        title=f"Cost and quality: {label.split(',')[0]}",
        alt=f"Scatter chart of all rows, difference to full against {label}. On the front, from "
        f"the cheapest: {names}.",
        x=(min(costs) - 4, max(costs) + 4),
        y=limits(near(gains, margin), [-margin], 2 * margin),
        x_label=label,
        y_label=f"difference to full, {measure.points}",
    )
    chart.band(max(-margin, chart.y[0]), 0.0, "margin")
    chart.line(chart.x, [0.0, 0.0], "full thin", "full training")
    chart.line([cost(line) for line in best], [quality(line) for line in best], "front")
    for line in [*(line for line in known if line not in best), *best]:
        name = f"{row_name(line.row)}{_asked(line)}"
        text = f"{name}: {signed(quality(line), measure.digits)} at {cost(line):.0f}\xa0%"
        key = f"{text}{_steady(line, label)}" if line in best else ""
        chart.point(cost(line), quality(line), _style(line, best), text, key)
    return chart


def _steady(line: Line, label: str) -> str:
    """Say how often a row is on the front by time if seeds are drawn anew."""
    if "time" not in label or math.isnan(line.front_share):
        return ""
    return f" ({percent(line.front_share)})"


def _asked(line: Line) -> str:
    ratio, exponent = line.row.prune_ratio, line.row.step_exponent
    asked = "" if ratio is None or line.row.is_added else f" {ratio:g}"
    return asked if exponent is None else f"{asked}, γ = {exponent:g}"


def _style(line: Line, best: Sequence[Line]) -> str:
    kinds = {"full": "full", "random": "random", "fewer-epochs": "fewer"}
    kind = kinds.get(line.row.method, "control" if is_control(line.row.method) else "method")
    return f"{kind} best" if line in best else kind
