"""Curves of accuracy against cost: every point is in its place, and every name finds its curve."""

import itertools

import numpy as np
import pytest

from made_up_tables import (
    CURVES,
    FULL_MEAN,
    data_of,
    made_case,
    panels,
    pixels_of,
    points,
)
from thresher.bench.summary import FULL
from thresher.bench.tradeoff import MARKER, spread

curves = pytest.mark.parametrize("case", CURVES)


@curves
def test_points_of_curves_cover_their_true_place_and_are_not_cut(case: str) -> None:
    lines, figure = CURVES[case], made_case(case)
    radius = MARKER / 2 * figure.dpi / 72
    expected = {(100 * one.rate, one.mean) for one in lines if one.row != FULL}
    found: set[tuple[float, float]] = set()
    for axes in panels(figure):
        for container in points(axes).values():
            data, pixels = data_of(container), pixels_of(container)
            found |= {(float(x), float(y)) for x, y in data}
            true = axes.transData.transform(data)
            assert np.abs(pixels - true).max() <= radius * (1 + 1e-9)
            inside = axes.bbox.padded(-radius)
            assert all(inside.contains(x, y) for x, y in pixels)
    assert found == expected


def test_bars_at_one_rate_stand_side_by_side() -> None:
    [axes] = panels(made_case("one ratio"))
    across = sorted(float(pixels_of(one)[0, 0]) for one in points(axes).values())
    assert all(right - left >= 1.0 for left, right in itertools.pairwise(across))


@curves
def test_names_of_curves_are_in_the_order_of_their_ends(case: str) -> None:
    # Leaders that keep the order at both of their ends cannot cross.
    for axes in panels(made_case(case)):
        ends = {name: data_of(one)[-1, 1] for name, one in points(axes).items()}
        heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
        assert set(heights) == {*ends, f"full {FULL_MEAN:.2f} %"}
        assert sorted(ends, key=lambda name: ends[name]) == sorted(
            ends, key=lambda name: heights[name]
        )


def test_labels_are_moved_apart_as_little_as_needed() -> None:
    assert spread([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    for heights in ([0.0, 0.0, 0.01], [1.0, 1.0], [0.98, 0.99, 1.0, 1.0]):
        moved = spread(heights, 0.1)
        assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(moved))
        assert moved[0] >= -1e-9
        assert moved[-1] <= 1 + 1e-9
