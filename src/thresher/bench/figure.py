"""The picture of a table, of the kind that can be read with as many methods as there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.bench.forest import draw_forest
from thresher.bench.metrics import ACCURACY, Metric
from thresher.bench.panels import INK
from thresher.bench.summary import FULL, Line
from thresher.bench.tradeoff import draw_tradeoff

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 7
"""With more methods than this, baselines among them, curves cannot be told apart."""

_SETTINGS: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    # Without this an SVG of the same numbers differs from run to run.
    "svg.hashsalt": "thresher",
}


def picture(
    lines: Sequence[Line], title: str, margin: float, path: Path, metric: Metric = ACCURACY
) -> None:
    """Draw what is left of the metric against what was saved of the work.

    Up to eight methods are curves of accuracy against cost; more are rows of a forest plot. The
    format is the path's ending: `.svg`, `.png`, `.pdf`. Without a finished run of `full` there is
    nothing to compare with, and nothing is drawn.

    Args:
        lines: of the table, `full` among them.
        title: of the picture.
        margin: δ, in points; the band of what counts as lossless.
        path: where to.
        metric: what was measured.
    """
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS):
        figure = drawn(lines, title, margin, metric)
        if figure is not None:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)


def drawn(
    lines: Sequence[Line], title: str, margin: float, metric: Metric = ACCURACY
) -> Figure | None:
    """Return the picture before it is written; None without `full`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not metric.higher_is_better:
        # Drawn upside down, so that up is better; the axis shows them as they are.
        lines = [replace(line, mean=-line.mean) for line in lines]
    full = next((line for line in lines if line.row == FULL), None)
    if full is None:
        return None
    figure = Figure(facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    methods = {line.row.method for line in lines if line.row != FULL}
    draw = draw_tradeoff if len(methods) <= MOST_CURVES else draw_forest
    draw(figure, lines, full, margin, metric)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
