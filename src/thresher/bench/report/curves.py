"""What happened in the course of the runs: accuracy, prune rate and weights by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from thresher.bench.report.drawing import Chart, framed
from thresher.bench.report.runs import Together
from thresher.bench.report.views import Shown, View
from thresher.bench.statistics import standard_deviation
from thresher.bench.summary import FULL

Runs = Mapping[int, Mapping[str, Any]]
Values = Callable[[Mapping[str, Any]], list[float]]
"""One number for each epoch of a run."""


class Course(NamedTuple):
    """A quantity in the course of a row's runs, over seeds.

    Args:
        xs: means.
        means: of the quantity.
        lows: mean − sd.
        highs: mean + sd.
    """

    xs: list[float]
    means: list[float]
    lows: list[float]
    highs: list[float]


def course(runs: Runs, across: Values, up: Values) -> Course:
    """Return the mean and the spread of a quantity over the seeds, epoch by epoch."""
    both = [(across(run), up(run)) for run in runs.values()]
    num = min((min(len(xs), len(ys)) for xs, ys in both), default=0)
    found = Course([], [], [], [])
    for epoch in range(num):
        values = [ys[epoch] for _, ys in both]
        mean, sd = math.fsum(values) / len(values), standard_deviation(values)
        sd = 0.0 if math.isnan(sd) else sd
        found.xs.append(math.fsum(xs[epoch] for xs, _ in both) / len(both))
        found.means.append(mean)
        found.lows.append(mean - sd)
        found.highs.append(mean + sd)
    return found


def learning(group: Together, view: View) -> list[Chart]:
    """Return the metric against samples trained, and against seconds, both as shares of full's."""
    measure = group.measure
    against = {
        "samples trained": (_samples, "samples trained, % of full training"),
        "training time": (_seconds, "training time, % of full training"),
    }
    charts: list[Chart] = []
    for name, (values, label) in against.items():
        share = _share_of_full(group.records.get(FULL, {}), values)
        if share is None:
            continue
        courses = {
            each: course(group.records[each.line.row], share, _of_epochs("metric"))
            for each in view.shown
        }
        charts.append(
            _chart(
                courses,
                f"{measure.name.capitalize()} against {name}",
                x_label=label,
                y_label=f"{measure.name} on test data, {measure.unit}",
                # The first epochs would squeeze the end, which decides.
                y=_late(list(courses.values())),
                group=group,
            )
        )
    return charts


def pruning(group: Together, view: View) -> list[Chart]:
    """Return the share of the samples left out, and how even the weights were, by epoch."""
    size = group.num_samples
    if not size:
        return []

    def left_out(run: Mapping[str, Any]) -> list[float]:
        return [100 * (1 - epoch["trained"] / size) for epoch in run["epochs"]]

    def evenness(run: Mapping[str, Any]) -> list[float]:
        return [
            100 * epoch.get("effective_samples", math.nan) / max(1, epoch["planned"])
            for epoch in run["epochs"]
        ]

    def number(run: Mapping[str, Any]) -> list[float]:
        return [float(epoch + 1) for epoch in range(len(run["epochs"]))]

    kinds = (
        ("Prune rate by epoch", left_out, "left out, % of all samples"),
        ("Spread of the weights by epoch", evenness, "effective samples, % of the trained"),
    )
    charts: list[Chart] = []
    for title, values, label in kinds:
        courses = {
            each: course(group.records[each.line.row], number, values) for each in view.shown
        }
        charts.append(
            _chart(courses, title, x_label="epoch", y_label=label, y=(-2.0, 104.0), group=group)
        )
    return charts


def _chart(
    courses: Mapping[Shown, Course],
    title: str,
    *,
    x_label: str,
    y_label: str,
    y: tuple[float, float],
    group: Together,
) -> Chart:
    xs = [x for found in courses.values() for x in found.xs]
    last = max(xs, default=1.0)
    first = min(xs, default=0.0) if x_label == "epoch" else 0.0
    ends = ", ".join(
        f"{each.name} {_end(found.means[-1])}" for each, found in courses.items() if found.xs
    )
    num = len(group.seeds)
    chart = Chart(
        title=title,
        alt=f"Line chart: {y_label}, against {x_label}; mean of {num} seeds. {ends}.",
        x=(first, last * 1.02 if last > first else first + 1),
        y=y,
        x_label=x_label,
        y_label=y_label,
    )
    for each, found in courses.items():
        chart.area(found.xs, found.lows, found.highs, each.style)
    for each, found in courses.items():
        chart.line(found.xs, found.means, each.style, each.name)
    for each, found in courses.items():
        if found.xs:
            end = f"{each.name}: {found.means[-1]:.2f}"
            chart.point(found.xs[-1], found.means[-1], each.style, end)
    return chart


def _end(value: float) -> str:
    return f"ends at {value:.2f}" if math.isfinite(value) else "has no number at its end"


def _late(courses: Sequence[Course]) -> tuple[float, float]:
    """Frame the last third of the curves; what lies below is cut."""
    values = [
        value
        for found in courses
        for row in (found.lows, found.highs)
        for value in row[2 * len(row) // 3 :]
    ]
    return framed(values, least=0.1)


def _of_epochs(name: str) -> Values:
    def values(run: Mapping[str, Any]) -> list[float]:
        return [float(epoch[name]) for epoch in run["epochs"]]

    return values


def _samples(run: Mapping[str, Any]) -> list[float]:
    # What a reference model was trained on comes first.
    before = float(run.get("reference_samples", 0))
    return list(accumulate((epoch["trained"] for epoch in run["epochs"]), initial=before))[1:]


def _seconds(run: Mapping[str, Any]) -> list[float]:
    before = sum(run["seconds"].get(part, 0.0) for part in ("reference", "collecting", "selecting"))
    times = (epoch.get("seconds", math.nan) for epoch in run["epochs"])
    return list(accumulate(times, initial=before))[1:]


def _share_of_full(full: Runs, values: Values) -> Values | None:
    """Return a quantity as a percentage of the same seed's full run at its end.

    A seed without a full run is compared with the mean of those that are there.
    """
    ends = {seed: (values(run) or [math.nan])[-1] for seed, run in full.items()}
    ends = {seed: end for seed, end in ends.items() if end > 0}
    if not ends:
        return None
    mean = math.fsum(ends.values()) / len(ends)

    def shares(run: Mapping[str, Any]) -> list[float]:
        end = ends.get(run["config"]["seed"], mean)
        return [100 * value / end for value in values(run)]

    return shares
