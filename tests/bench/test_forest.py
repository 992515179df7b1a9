"""The forest plot: every row is there, in its place, beside its own opponents."""

import itertools
from dataclasses import replace

import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from made_up_tables import (
    FORESTS,
    FULL_MEAN,
    MANY,
    data_of,
    line,
    lines_of,
    made,
    made_case,
    names,
    panels,
    pixels_of,
    points,
)
from thresher.bench.catalogue import has_step_length
from thresher.bench.statistics import Difference
from thresher.bench.suite import Row
from thresher.bench.summary import Control

forests = pytest.mark.parametrize("case", FORESTS)


@forests
def test_every_method_is_a_row_of_every_panel_in_its_true_place(case: str) -> None:
    lines, figure = FORESTS[case], made_case(case)
    by_row = {one.row: one for one in lines}
    exponents = list(dict.fromkeys(one.row.step_exponent for one in lines))
    ratios = sorted({one.row.prune_ratio for one in lines if one.row.prune_ratio})
    assert len(panels(figure)) == len(exponents) * len(ratios)
    for axes, (exponent, ratio) in zip(
        panels(figure), itertools.product(exponents, ratios), strict=True
    ):
        first = figure.axes[exponents.index(exponent) * len(ratios)]
        places = dict(zip(names(first), first.get_yticks(), strict=True))
        assert set(places) == {one.row.method for one in lines} - {"full"}
        for name, container in points(axes).items():
            row = Row(name, ratio, exponent if has_step_length(name) else None)
            difference = by_row[row].difference
            assert difference is not None
            [[x, y]] = data_of(container)
            assert (x, y) == (pytest.approx(difference.mean), pytest.approx(places[name]))
            [[pixel_x, pixel_y]] = pixels_of(container)
            assert axes.bbox.contains(pixel_x, pixel_y)
        assert set(points(axes)) == set(places)


def test_rows_are_sorted_by_their_mean_difference_over_the_ratios() -> None:
    lines = lines_of(MANY, [0.3, 0.7])
    means = {
        name: sum(one.mean for one in lines if one.row.method == name) / 2 - FULL_MEAN
        for name in MANY
    }
    [first, *_] = panels(made(lines))
    assert first.get_ylim()[0] > first.get_ylim()[1], "the first row is the top one"
    assert names(first) == sorted(MANY, key=lambda name: -means[name])


def test_a_row_has_its_own_opponents() -> None:
    lines = lines_of(MANY)
    added = line(Row("random", 0.4, is_added=True), -0.77)
    [random] = [one for one in lines if one.row.method == "random"]
    assert random.difference is not None
    for place, one in enumerate(lines):
        if one.row.method in ("repb", "omission"):
            row = added.row if one.row.method == "repb" else random.row
            lines[place] = replace(one, random=Control(row=row, difference=Difference((0.0,))))
    [axes] = panels(made([*lines, added]))
    places = dict(zip(names(axes), axes.get_yticks(), strict=True))
    colour = to_hex(axes.get_yticklabels()[names(axes).index("random")].get_color())
    drawn_at = {
        (round(float(segment[0, 0]), 9), round(float(segment[:, 1].mean()), 9))
        for collection in axes.collections
        if isinstance(collection, LineCollection) and to_hex(collection.get_color()[0]) == colour
        for segment in collection.get_segments()
        if segment[0, 0] == segment[1, 0]
    }
    assert drawn_at == {
        (-0.77, round(places["repb"], 9)),
        (round(random.difference.mean, 9), round(places["omission"], 9)),
    }


def test_a_row_that_saved_another_share_says_so() -> None:
    lines = [
        replace(one, rate=0.42) if one.row.method == "infobatch" else one for one in lines_of(MANY)
    ]
    [axes] = panels(made(lines))
    hollow = {
        name
        for name, one in points(axes).items()
        if one[0] is not None and to_hex(one[0].get_markerfacecolor()) == "#ffffff"
    }
    assert hollow == {"infobatch"}
    [share] = [text for text in axes.texts if "%" in text.get_text()]
    assert share.get_text() == "42 %"
    assert share.get_position()[1] == axes.get_yticks()[names(axes).index("infobatch")]


def test_a_method_far_from_all_others_is_written_and_squeezes_nobody() -> None:
    lines = [line(one.row, -40.0) if one.row.method == "repb" else one for one in lines_of(MANY)]
    [axes] = panels(made(lines))
    assert axes.get_xlim()[0] > -10
    assert [text.get_text() for text in axes.texts] == ["◂ −40.00"]
    assert set(points(axes)) == set(MANY) - {"repb"}
