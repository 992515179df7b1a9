"""A metric of which less is better, in pictures: up and right are better all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from made_up_tables import FEW, FULL_MEAN, MANY, line, names, points, texts
from thresher.bench.figure import drawn
from thresher.bench.metrics import BITS
from thresher.bench.suite import Row
from thresher.bench.summary import FULL, Line


def lines_of(methods: list[str]) -> list[Line]:
    # Each method loses more than the one before, so its metric is higher.
    rows = [line(Row(name, 0.5), -0.1 * place) for place, name in enumerate(methods, start=1)]
    return [line(FULL, 0.0), *(replace(row, mean=2 * FULL_MEAN - row.mean) for row in rows)]


def made(methods: list[str]) -> Figure:
    figure = drawn(lines_of(methods), "A task", 0.02, BITS)
    assert figure is not None
    figure.draw_without_rendering()
    return figure


def test_curves_go_down_where_the_metric_goes_up() -> None:
    figure = made(FEW)
    [axes] = figure.axes
    heights = {name: float(found[0].get_ydata()[0]) for name, found in points(axes).items()}  # type: ignore[index]
    assert sorted(heights, key=lambda name: -heights[name]) == FEW
    labels = [float(label.get_text()) for label in axes.get_yticklabels()]
    assert labels == sorted(labels, reverse=True)
    assert min(labels) > 0


@pytest.mark.parametrize("methods", [FEW, MANY])
def test_unit_and_direction_are_written_and_fit(methods: list[str]) -> None:
    figure = made(methods)
    words = " ".join(text.get_text() for text in [*texts(figure), *figure.texts])
    assert "91.000 bits" in words
    assert "at most 0.02 bits above full" in words
    assert "better" in words
    assert "accuracy" not in words
    for text in [*texts(figure), *figure.texts]:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1 + 0.5, text.get_text()
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1 + 0.5, text.get_text()


def test_rows_of_a_forest_are_from_small_loss_to_large() -> None:
    assert names(made(MANY).axes[0]) == MANY
