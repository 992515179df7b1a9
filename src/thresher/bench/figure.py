"""The accuracy-cost picture: what is left of the accuracy against what was saved of the work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from thresher.bench.catalogue import METHODS, has_step_length, is_control
from thresher.bench.summary import FULL, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by every kind of eye; yellow is too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Of the second, third and fourth six methods, which have the colours of the first.
_DASHES = ("-", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_INK, _MUTED, _PALE = "#222222", "#767676", "#E9EEF2"
_LABEL_GAP = 0.052
"""Least distance of two labels, as a share of the panel's height."""


def tradeoff(lines: Sequence[Line], title: str, margin: float, path: Path) -> None:
    """Draw accuracy against the share of sample visits saved, one panel for each step length.

    Every curve starts at full training (nothing saved). Bars are the 95 % paired t intervals of the
    difference to full. The format is the path's ending: `.svg`, `.png`, `.pdf`.

    Args:
        lines: of the table, `full` among them.
        title: of the picture.
        margin: δ, in points; the band of what counts as lossless.
        path: where to.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    full = next((line for line in lines if line.row == FULL), None)
    if full is None:
        return
    panels = _panels(lines)
    settings: Any = {
        "font.size": 10,
        "font.family": "sans-serif",
        "text.color": _INK,
        # Without these an SVG of the same numbers differs from run to run.
        "svg.hashsalt": "thresher",
    }
    with mpl.rc_context(settings):
        figure = Figure(
            figsize=(1.2 + 5.6 * len(panels), 4.6), facecolor="white", layout="constrained"
        )
        FigureCanvasAgg(figure)
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        _set_limits(all_axes[0], lines, full, margin)
        for axes, (step_length, shown) in zip(all_axes, panels.items(), strict=True):
            _draw_panel(axes, shown, full, margin)
            if len(panels) > 1:
                axes.set_title(_panel_title(step_length), fontsize=10, color=_MUTED, loc="left")
        all_axes[0].set_ylabel("test accuracy of the last epoch, %", color=_MUTED)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)


def _panels(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return the lines of each step length; rows without one are in every panel."""
    lengths = dict.fromkeys(
        line.row.step_length for line in lines if has_step_length(line.row.method)
    )
    shown = [line for line in lines if line.row != FULL]
    return {
        length: [
            line
            for line in shown
            if not has_step_length(line.row.method) or line.row.step_length == length
        ]
        for length in lengths or {"": None}
    }


def _panel_title(step_length: str) -> str:
    return (
        "published step length" if step_length == "published" else f"step length γ = {step_length}"
    )


def _set_limits(axes: Axes, lines: Sequence[Line], full: Line, margin: float) -> None:
    """Frame the means and their bars, but let no single wide bar squeeze everything else."""
    means = [line.mean for line in lines]
    ends = [end for line in lines for end in _bar(line, full)]
    spread = max(max(means) - min(means), 2 * margin)
    low = max(min([*ends, full.mean - margin]), min(means) - 0.75 * spread)
    high = min(max([*ends, full.mean]), max(means) + 0.75 * spread)
    room = 0.06 * (high - low)
    axes.set_ylim(low - room, high + room)


def _bar(line: Line, full: Line) -> tuple[float, float]:
    interval = line.difference.interval() if line.difference is not None else None
    if interval is None or line.difference is None:
        return line.mean, line.mean
    half = (interval[1] - interval[0]) / 2
    return line.mean - half, line.mean + half


def _draw_panel(axes: Axes, lines: Sequence[Line], full: Line, margin: float) -> None:
    last = max([100 * line.rate for line in lines], default=50.0)
    axes.set_xlim(-0.03 * last, 1.04 * last)
    axes.axhspan(full.mean - margin, full.mean, color=_PALE, zorder=0)
    axes.axhline(full.mean, color=_INK, linewidth=1, zorder=1)
    axes.annotate(
        f"full {full.mean:.2f} %",
        (0.0, full.mean),
        xytext=(2, 4),
        textcoords="offset points",
        fontsize=9,
    )
    axes.annotate(
        f"{margin:g} points below full",
        (0.0, full.mean - margin),
        xytext=(2, 4),
        textcoords="offset points",
        fontsize=8,
        color=_MUTED,
    )
    curves = _curves(lines)
    styles = _styles(curves)
    for place, (method, points) in enumerate(curves.items()):
        # Bars of equal rate would hide each other: they stand side by side.
        shift = (place - (len(curves) - 1) / 2) * 0.009 * last
        _draw_curve(axes, points, full, styles[method], shift)
    _label(axes, {method: points[-1] for method, points in curves.items()}, styles)
    axes.set_xlabel(
        "sample visits saved, % of full training\n"
        "(bars: 95 % paired interval of the difference to full)",
        color=_MUTED,
    )
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def _curves(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return each method's lines from little to much saved; added controls are not drawn."""
    curves: dict[str, list[Line]] = {}
    for line in lines:
        if not line.row.is_added:
            curves.setdefault(line.row.method, []).append(line)
    return {method: sorted(points, key=lambda line: line.rate) for method, points in curves.items()}


@final
class _Style:
    """How a method is drawn: controls grey and broken, methods coloured."""

    def __init__(self, colour: str, dashes: Any, width: float) -> None:
        self.colour, self.dashes, self.width = colour, dashes, width


def _styles(methods: Iterable[str]) -> dict[str, _Style]:
    """Return each method's style; a known name has the same colour in every picture."""
    known = [name for name in METHODS if not is_control(name)]
    styles: dict[str, _Style] = {}
    for method in methods:
        if is_control(method):
            styles[method] = _Style(_MUTED, "--" if method.startswith("random") else ":", 1.4)
            continue
        if method not in known:
            known.append(method)
        again, colour = divmod(known.index(method), len(_COLOURS))
        dashes = _DASHES[again % len(_DASHES)]
        styles[method] = _Style(_COLOURS[colour], dashes, 1.8)
    return styles


def _draw_curve(
    axes: Axes, points: Sequence[Line], full: Line, style: _Style, shift: float
) -> None:
    x = [100 * line.rate + shift for line in points]
    y = [line.mean for line in points]
    axes.plot(
        [0.0, *x],
        [full.mean, *y],
        linestyle=style.dashes,
        color=style.colour,
        linewidth=style.width,
        zorder=2,
    )
    bars: Any = [(high - low) / 2 for low, high in (_bar(line, full) for line in points)]
    axes.errorbar(
        x, y, yerr=bars, fmt="o", color=style.colour, markersize=5, elinewidth=1, zorder=3
    )


def _label(axes: Axes, ends: dict[str, Line], styles: dict[str, _Style]) -> None:
    """Write each method's name right of its curve, moved apart where names would overlap."""
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda method: ends[method].mean)
    heights = spread([(ends[method].mean - low) / (high - low) for method in order], _LABEL_GAP)
    for method, height in zip(order, heights, strict=True):
        end = ends[method]
        axes.annotate(
            method,
            (100 * end.rate, end.mean),
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            color=styles[method].colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.7, "shrinkB": 4},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights, moved as little as needed to be a gap apart, in [0, 1] if they fit.

    Neighbours that are too near become a block around their common mean (pool adjacent violators).

    Example:
        >>> [round(height, 2) for height in spread([0.5, 0.5, 0.9], 0.1)]
        [0.45, 0.55, 0.9]
    """
    # With i·gap taken off, "a gap apart" is "not descending": isotonic regression.
    blocks: list[tuple[float, int]] = []
    for index, height in enumerate(heights):
        total, count = height - index * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    top = 1 - (len(heights) - 1) * gap
    flat = [total / count for total, count in blocks for _ in range(count)]
    return [min(max(height, 0.0), max(top, 0.0)) + index * gap for index, height in enumerate(flat)]
