"""Charts: ticks are round and few, everything drawn is on the canvas, fronts are fronts."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.made_up import a_comparison, a_run
from thresher.bench.report import curves, times
from thresher.bench.report.attention import precision
from thresher.bench.report.drawing import Chart, framed, tick_text, ticks
from thresher.bench.report.front import front, fronts, quality
from thresher.bench.report.runs import Together
from thresher.bench.report.runs import grouped as grouped_in
from thresher.bench.report.table_rows import STRIP, parts_of
from thresher.bench.report.views import views_of
from thresher.bench.summary import charged, summarise


def grouped(records: list[dict[str, Any]]) -> list[Together]:
    return grouped_in(records, Path())


MANY = settings(max_examples=200, deadline=None)
numbers = st.floats(-1e6, 1e6)


@MANY
@given(numbers, st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_few_even_and_within_the_limits(low: float, span: float, most: int) -> None:
    high = low + span
    if high <= low:
        return
    found = ticks(low, high, most)
    assert len(found) <= most
    room = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - room <= each <= high + room for each in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[:1].sum() if len(steps) else 0, rtol=1e-3, atol=room)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (2.0, 1.0)])
def test_ticks_of_no_range_are_at_most_one(limits: tuple[float, float]) -> None:
    assert len(ticks(*limits)) <= 1


def test_ticks_are_written_with_as_many_digits_as_they_need() -> None:
    assert [tick_text(each, [0, 2.5]) for each in (0.0, 2.5, -1.0)] == ["0.0", "2.5", "−1.0"]
    assert tick_text(60_000.0, [60_000.0]) == "60,000"


@MANY
@given(st.lists(st.one_of(numbers, st.just(math.nan)), max_size=6), st.floats(0.01, 10))
def test_a_frame_holds_every_number_and_the_least_span(values: list[float], least: float) -> None:
    low, high = framed(values, least)
    assert all(low <= value <= high for value in values if math.isfinite(value))
    assert high - low >= least


@MANY
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_points_stay_in_the_frame_and_what_lies_beyond_becomes_an_arrow(
    points: list[tuple[float, float]],
) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    chart = Chart(title="", alt="", x=framed(xs, 1.0), y=(-1.0, 1.0))
    for x, y in points:
        chart.point(x, y, "a", "")
    for mark, y in zip(chart.marks, ys, strict=True):
        assert chart.left <= mark.x <= chart.right
        assert chart.top <= mark.y <= chart.bottom
        assert mark.kind == ("down" if y < -1 else "up" if y > 1 else "dot")


def test_lines_and_bands_go_through_their_values() -> None:
    chart = Chart(title="", alt="", x=(0, 10), y=(0, 100))
    chart.line([0, 10], [0, 100], "a")
    chart.area([0, 10], [0, 0], [100, 50], "b")
    left, right, top, bottom = chart.left, chart.right, chart.top, chart.bottom
    middle = (top + bottom) / 2
    line, area = (re.findall(r"-?[\d.]+", mark.path) for mark in chart.marks)
    assert [float(each) for each in line] == pytest.approx([left, bottom, right, top], abs=0.06)
    assert [float(each) for each in area] == pytest.approx(
        [left, top, right, middle, right, bottom, left, bottom], abs=0.06
    )


def test_a_point_with_a_key_has_its_number_in_the_list() -> None:
    chart = Chart(title="", alt="", x=(0, 1), y=(0, 1))
    chart.point(0, 0, "a", "plain")
    chart.point(1, 1, "a", "told", key="first")
    assert chart.keys == ["first"]
    assert [(mark.kind, mark.number) for mark in chart.marks] == [("dot", ""), ("number", "1")]


def test_what_is_not_a_number_is_not_drawn() -> None:
    chart = Chart(title="", alt="", x=(0, 1), y=(0, 1))
    chart.line([0, 1], [math.nan, math.inf], "a")
    chart.area([0, 1], [math.nan, 0], [1, 1], "a")
    chart.point(0, math.nan, "a", "")
    assert chart.marks == []


def test_no_row_of_the_front_is_beaten_and_every_other_is() -> None:
    draws = np.random.default_rng(0)
    records = [a_run("full", None, 0, 90.0)]
    records += [
        a_run(f"m{k}", float(draws.uniform(0.1, 0.9)), 0, float(draws.uniform(80, 91)))
        for k in range(30)
    ]
    lines = summarise(grouped(records)[0].records, 0.5)

    def cost(line):
        return line.samples

    best = front(lines, cost)
    for line in lines:
        beaten = any(
            (cost(other) <= cost(line) and quality(other) > quality(line))
            or (cost(other) < cost(line) and quality(other) >= quality(line))
            for other in lines
        )
        assert beaten is (line not in best)
    assert len(fronts(lines, grouped(records)[0].measure, 0.5)) == 2


def test_curves_are_means_over_seeds_with_bands_of_one_standard_deviation() -> None:
    [group] = grouped(a_comparison())
    [view] = views_of(summarise(group.records, 0.5))
    row = next(each.line.row for each in view.shown if each.name == "OrderDP")
    found = curves.course(
        group.records[row],
        lambda run: [float(epoch["trained"]) for epoch in run["epochs"]],
        lambda run: [epoch["metric"] for epoch in run["epochs"]],
    )
    ends = [run["metric"] for run in group.records[row].values()]
    assert found.means[-1] == pytest.approx(np.mean(ends))
    assert found.highs[-1] - found.means[-1] == pytest.approx(np.std(ends, ddof=1))
    learning = curves.learning(group, view)
    assert [chart.x_label for chart in learning] == [
        "samples trained, % of full training",
        "training time, % of full training",
    ]
    assert all("OrderDP ends at" in chart.alt for chart in learning)
    assert len(curves.pruning(group, view)) == 2


def test_time_is_split_without_loss() -> None:
    [group] = grouped(a_comparison())
    [view] = views_of(summarise(group.records, 0.5))
    for bar in times.bars(group, view):
        runs = group.records[bar.shown.line.row].values()
        mean = sum(charged(run) for run in runs) / len(runs)
        assert bar.seconds == pytest.approx(mean)
        assert sum(times.split(next(iter(runs))["seconds"]).values()) == pytest.approx(mean)
        assert max(part.start + part.width for part in bar.parts) <= 100.001


def test_strips_are_on_their_canvas_and_say_where_they_leave_it() -> None:
    records = a_comparison() + [a_run("orderdp", 0.3, seed, 20.0) for seed in range(3)]
    group = grouped(records)[0]
    parts = parts_of(summarise(group.records, 0.5), group.measure, 0.5)
    strips = [row.strip for part in parts for row in part.rows if row.strip]
    assert len(strips) == 5
    for strip in strips:
        assert 0 <= strip.low <= strip.high <= STRIP
        assert strip.margin < strip.zero
    assert [strip.beyond for strip in strips].count("left") >= 1


@MANY
@given(st.integers(2, 200), st.integers(0, 10_000))
def test_precision_of_a_perfect_suspicion_is_one_and_at_its_end_equals_recall(
    size: int, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    wrong = draws.random(size) < 0.3
    perfect = np.argsort(~wrong, kind="stable")
    assert set(precision(perfect, wrong).values()) <= {1.0}
    order = draws.permutation(size)
    found = precision(order, wrong)
    if wrong.any():
        num = int(wrong.sum())
        assert found[num] == wrong[order[:num]].mean()
    assert precision(order, None) == {}
