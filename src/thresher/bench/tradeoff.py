"""The accuracy-cost picture: a curve for each method, for as many as can be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from thresher.bench.catalogue import METHODS, is_control
from thresher.bench.metrics import Metric
from thresher.bench.panels import (
    INK,
    MUTED,
    PALE,
    RULE,
    bar,
    below,
    by_step_length,
    limits,
    step_length_title,
)
from thresher.bench.summary import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every kind of eye; yellow is too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Of the second, third and fourth six methods, which have the colours of the first.
_DASHES = ("-", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_CONTROL_MARKERS = {"random-cycle": "s", "fewer-epochs": "^", "fewer-epochs-scaled": "v"}
MARKER = 6.0
"""Diameter of a point, in typographic points: moved aside, it still covers its true place."""
_LABEL_GAP = 0.064
"""Least distance of two labels, as a share of the panel's height."""


def draw_tradeoff(
    figure: Figure, lines: Sequence[Line], full: Line, margin: float, metric: Metric
) -> None:
    """Draw the metric against the share of sample visits saved, a panel for each step length.

    Every curve starts at full training (nothing saved). Bars are the 95 % paired t intervals of the
    difference to full, around the mean. Up is better: a metric of which less is better comes
    negated, and the axis shows it without the sign.

    Args:
        figure: empty.
        lines: of the table.
        full: the line of full training.
        margin: δ, in points.
        metric: what was measured.
    """
    panels = by_step_length(lines)
    # Above each other, so that a narrow screen shows two as large as one.
    figure.set_size_inches(6.8, 1.4 + 3.2 * len(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    shown = [line for panel in panels.values() for line in panel]
    last = max((100 * line.rate for line in shown), default=50.0)
    ends = [end for line in shown for end in _ends(line)]
    all_axes[0].set_xlim(-0.03 * last, 1.04 * last)
    all_axes[0].set_ylim(
        limits([full.mean, *(line.mean for line in shown)], [full.mean - margin, *ends], 2 * margin)
    )
    for axes, (step_length, panel) in zip(all_axes, panels.items(), strict=True):
        _draw_panel(axes, panel, full, margin, metric)
        if len(panels) > 1:
            axes.set_title(step_length_title(step_length), fontsize=10, color=MUTED, loc="left")
    all_axes[-1].set_xlabel(
        "sample visits saved, % of full training\n"
        "(bars: 95 % paired interval of the difference to full;\n"
        f"shaded: at most {margin:g} {metric.points} {below(metric)} full)",
        color=MUTED,
    )
    if not metric.higher_is_better:
        all_axes[0].yaxis.set_major_formatter(_unturned)
    figure.supylabel(_axis(metric), color=MUTED, fontsize=10)


def _unturned(value: float, _place: int) -> str:
    return f"{-value:g}"


def _axis(metric: Metric) -> str:
    if metric.higher_is_better:
        return f"test {metric.name} of the last epoch, {metric.unit}"
    return f"test {metric.name}, last epoch (up is better)"


def _ends(line: Line) -> tuple[float, float]:
    down, up = bar(line)
    return line.mean - down, line.mean + up


def _draw_panel(
    axes: Axes, lines: Sequence[Line], full: Line, margin: float, metric: Metric
) -> None:
    axes.axhspan(full.mean - margin, full.mean, color=PALE, linewidth=0, zorder=0)
    axes.axhline(full.mean, color=INK, linewidth=1, zorder=1)
    curves = _curves(lines)
    styles = _styles(curves)
    for place, (method, points) in enumerate(curves.items()):
        # Bars of equal rate would hide each other: they stand side by side, within a marker.
        share = place / (len(curves) - 1) - 0.5 if len(curves) > 1 else 0.0
        _draw_curve(axes, points, full, styles[method], share * MARKER)
    _label(axes, {method: points[-1] for method, points in curves.items()}, styles, full, metric)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, labelbottom=True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def _curves(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return each method's lines, from little to much saved."""
    curves: dict[str, list[Line]] = {}
    for line in lines:
        curves.setdefault(line.row.method, []).append(line)
    return {method: sorted(points, key=lambda line: line.rate) for method, points in curves.items()}


class _Style(NamedTuple):
    """How a method is drawn: controls grey and broken, methods coloured."""

    colour: str
    dashes: Any
    width: float
    marker: str
    layer: int


def _styles(methods: Iterable[str]) -> dict[str, _Style]:
    """Return each method's style; a known name has the same colour in every picture."""
    known = [name for name in METHODS if not is_control(name)]
    styles: dict[str, _Style] = {}
    for method in methods:
        if is_control(method):
            dashes = "--" if method.startswith("random") else ":"
            styles[method] = _Style(MUTED, dashes, 1.4, _CONTROL_MARKERS.get(method, "o"), 3)
            continue
        if method not in known:
            known.append(method)
        again, colour = divmod(known.index(method), len(_COLOURS))
        dashes = _DASHES[again % len(_DASHES)]
        styles[method] = _Style(_COLOURS[colour], dashes, 1.8, "o", 4)
    return styles


def _draw_curve(
    axes: Axes, points: Sequence[Line], full: Line, style: _Style, shift: float
) -> None:
    """Draw one method; its points and bars are moved right by `shift` typographic points."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure()
    assert figure is not None
    aside = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    x, y = [100 * line.rate for line in points], [line.mean for line in points]
    axes.plot(
        [0.0, *x],
        [full.mean, *y],
        linestyle=style.dashes,
        color=style.colour,
        linewidth=style.width,
        zorder=2,
    )
    axes.errorbar(
        x,
        y,
        yerr=list(zip(*map(bar, points), strict=True)),
        fmt=style.marker,
        color=style.colour,
        markersize=MARKER,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1,
        transform=aside,
        zorder=style.layer,
        label=points[0].row.method,
    )
    low, high = axes.get_ylim()
    for line in points:
        for end, limit, marker in zip(_ends(line), (low, high), "v^", strict=True):
            if not low <= end <= high:
                axes.plot(
                    100 * line.rate,
                    limit,
                    marker,
                    color=style.colour,
                    transform=aside,
                    clip_on=False,
                )


def _label(
    axes: Axes, ends: dict[str, Line], styles: dict[str, _Style], full: Line, metric: Metric
) -> None:
    """Write each method's name right of its curve, moved apart where names would overlap.

    The lines that lead there keep the order of their heights, so that no two of them cross.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    name = f"full {metric.text(abs(full.mean))}"
    rows = [(full.mean, right, name, _Style(INK, "-", 1.0, "", 1))]
    rows += [(end.mean, 100 * end.rate, method, styles[method]) for method, end in ends.items()]
    rows.sort(key=lambda row: row[0])
    heights = [(row[0] - low) / (high - low) for row in rows]
    for place, height, row in zip(spread(heights, _LABEL_GAP), heights, rows, strict=True):
        _, x, name, style = row
        axes.plot(
            [(x - left) / (right - left), 1.0, 1.05],
            [height, height, place],
            color="#BBBBBB",
            linewidth=0.7,
            transform=axes.transAxes,
            clip_on=False,
            zorder=1,
        )
        axes.plot(
            [1.06, 1.09, 1.12],
            [place] * 3,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=style.width,
            marker=style.marker,
            markevery=[1],
            markersize=MARKER,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(1.14, place, name, va="center", color=style.colour, transform=axes.transAxes)


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
