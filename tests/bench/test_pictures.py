"""Pictures of a table, of either kind: everything is drawn and can be read."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up_tables import (
    CURVES,
    FEW,
    FORESTS,
    MANY,
    arrows,
    data_of,
    line,
    lines_of,
    made,
    made_case,
    names,
    panels,
    points,
    texts,
)
from thresher.bench.figure import MOST_CURVES, picture
from thresher.bench.panels import limits
from thresher.bench.statistics import Difference
from thresher.bench.suite import Row
from thresher.bench.summary import FULL


def test_few_methods_are_curves_and_more_are_rows() -> None:
    few, many = lines_of(MANY[:MOST_CURVES]), lines_of(MANY[: MOST_CURVES + 1])
    assert made(few).axes[0].get_xlabel().startswith("sample visits saved")
    assert names(made(many).axes[0]) != []
    assert set(names(made(many).axes[0])) == set(MANY[: MOST_CURVES + 1])
    # What was not asked for decides nothing and is not drawn.
    added = line(Row("random", 0.49, is_added=True), -1.0)
    assert len(points(made([*few, added]).axes[0])["random"][0].get_xdata()) == 1


@pytest.mark.parametrize("case", CURVES | FORESTS)
def test_no_text_covers_another_or_leaves_the_page(case: str) -> None:
    figure = made_case(case)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    assert len(boxes) > 5
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1 + 0.5, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1 + 0.5, text
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        # A line of text is about fourteen pixels high, of which its box leaves some empty.
        assert wide <= 0 or high <= 1.5, (one, other)


@pytest.mark.parametrize("methods", [FEW, MANY])
def test_a_bar_that_is_cut_ends_in_an_arrow(methods: list[str]) -> None:
    lines = lines_of(methods)
    [axes] = panels(made(lines))
    assert arrows(axes) == set(), "nothing is cut"
    wide = [line(one.row, -1.0, width=30.0) if one.row.method == "repb" else one for one in lines]
    [axes] = panels(made(wide))
    [[x, y]] = data_of(points(axes)["repb"])
    if len(methods) <= MOST_CURVES:
        low, high = axes.get_ylim()
        assert arrows(axes) == {("v", x, low), ("^", x, high)}
    else:
        low, high = axes.get_xlim()
        assert arrows(axes) == {("<", low, y), (">", high, y)}


finite = st.floats(-100, 100, allow_subnormal=False)


@given(
    means=st.lists(finite, min_size=1, max_size=9),
    ends=st.lists(finite, min_size=1, max_size=9),
    least=st.floats(0.1, 10),
)
def test_limits_hold_every_mean_and_every_end_that_is_near(
    means: list[float], ends: list[float], least: float
) -> None:
    low, high = limits(means, ends, least)
    beyond = 0.75 * max(max(means) - min(means), least)
    near = [end for end in ends if min(means) - beyond <= end <= max(means) + beyond]
    assert all(low <= place <= high for place in [*means, *near])
    assert high - low <= 1.12 * (max(means) - min(means) + 2 * beyond) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("ending", "methods"), [("svg", FEW), ("svg", MANY[:9]), ("png", MANY[:9])]
)
def test_a_picture_is_written_and_is_the_same_each_time(
    tmp_path: Path, ending: str, methods: list[str]
) -> None:
    lines = lines_of(methods)
    first, second = tmp_path / f"1.{ending}", tmp_path / f"2.{ending}"
    picture(lines, "A task", 0.5, first)
    picture(lines, "A task", 0.5, second)
    assert len(first.read_bytes()) > 10_000
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("methods", [FEW, MANY])
def test_one_seed_has_points_without_bars(methods: list[str]) -> None:
    lines = [
        replace(one, difference=Difference((one.difference.mean,)), sd=math.nan)
        if one.difference
        else one
        for one in lines_of(methods)
    ]
    [axes] = panels(made(lines))
    assert set(points(axes)) == set(methods)


def test_full_alone_is_drawn_and_without_it_nothing_is(tmp_path: Path) -> None:
    made([line(FULL, 0.0)])
    picture(lines_of(FEW)[1:], "A task", 0.5, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
