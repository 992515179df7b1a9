"""The forest plot: a row for each method, a panel for each ratio; for many methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from thresher.bench.catalogue import is_control
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
from thresher.bench.suite import SAME_RATE, Row
from thresher.bench.summary import Line
from thresher.bench.table import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METHOD, _RANDOM, _FEWER = "#0072B2", "#D55E00", "#009E73"
_MARKER = 5.0
_ROW = 0.215
"""Height of a row whose name has one line, in inches."""
_NAME = 28
"""Characters of a name that one line holds."""


class Block(NamedTuple):
    """The panels of one step length: the same rows in each, from small loss to large.

    Args:
        step_length: of all.
        methods: names of the rows, from the top.
        panels: for each ratio asked, the line of each method.
    """

    step_length: str
    methods: list[str]
    panels: dict[float, dict[str, Line]]

    @property
    def places(self) -> list[float]:
        """Where each row's middle is: the top is 0, and a name of one line takes 1."""
        below = accumulate(self.heights)
        return [end - height / 2 for end, height in zip(below, self.heights, strict=True)]

    @property
    def heights(self) -> list[float]:
        """What each row takes."""
        return [1 + 0.8 * wrapped(name).count("\n") for name in self.methods]


def blocks_of(lines: Sequence[Line], differences: Mapping[Row, float]) -> list[Block]:
    """Return a block for each step length, its rows sorted by the mean over the ratios."""
    blocks: list[Block] = []
    for step_length, shown in by_step_length(lines).items():
        panels: dict[float, dict[str, Line]] = {}
        found: dict[str, list[float]] = {}
        for line in shown:
            panels.setdefault(line.row.prune_ratio or 0.0, {})[line.row.method] = line
            found.setdefault(line.row.method, []).append(differences[line.row])
        methods = sorted(found, key=lambda name: -sum(found[name]) / len(found[name]))
        blocks.append(Block(step_length, methods, dict(sorted(panels.items()))))
    return blocks


def draw_forest(
    figure: Figure, lines: Sequence[Line], full: Line, margin: float, metric: Metric
) -> None:
    """Draw each method's difference to full training, and beside it what the method must beat.

    Bars are the 95 % paired t intervals over seeds. Two short lines in a row are its own opponents:
    random pruning that saved as much, and fewer epochs that take as long.

    Args:
        figure: empty.
        lines: of the table.
        full: the line of full training.
        margin: δ, in points.
        metric: what was measured.
    """
    differences = {line.row: _difference(line, full) for line in lines}
    blocks = blocks_of(lines, differences)
    heights = [sum(block.heights) for block in blocks]
    num_columns = max(len(block.panels) for block in blocks)
    figure.set_size_inches(
        max(6.8, 2.0 + 1.6 * num_columns), 1.5 + sum(_ROW * height + 0.5 for height in heights)
    )
    grid = figure.subplots(
        len(blocks), num_columns, sharex=True, sharey="row", squeeze=False, height_ratios=heights
    )
    shown = [line for block in blocks for panel in block.panels.values() for line in panel.values()]
    grid[0, 0].set_xlim(_limits(shown, differences, margin))
    for row, block in zip(grid, blocks, strict=True):
        heading = f"{step_length_title(block.step_length)}\n" if len(blocks) > 1 else ""
        _draw_block(row, block, differences, margin, heading)
    low, high = grid[0, 0].get_xlim()
    ends = [end for line in shown for end in _ends(line, differences[line.row])]
    _explain(
        figure,
        f"full training, {metric.text(abs(full.mean))}",
        f"at most {margin:g} {metric.points} {below(metric)} full",
        _unit(metric),
        is_hollow=not all(map(_saved_as_asked, shown)),
        is_cut=min(ends) < low or max(ends) > high,
    )


def wrapped(name: str) -> str:
    r"""Return a name on as few lines as hold it, broken after commas.

    Example:
        >>> wrapped("repb"), wrapped("repb(window=none,rescale=false)")
        ('repb', 'repb(window=none,\nrescale=false)')
    """
    texts = [""]
    for part in name.replace(",", ",\0").split("\0"):
        if texts[-1] and len(texts[-1] + part) > _NAME:
            texts.append("")
        texts[-1] += part
    return "\n".join(texts)


def _difference(line: Line, full: Line) -> float:
    # Without a common seed the means are all there is to compare.
    return line.difference.mean if line.difference is not None else line.mean - full.mean


def _ends(line: Line, middle: float) -> tuple[float, float]:
    down, up = bar(line)
    return middle - down, middle + up


def _opponents(line: Line) -> list[tuple[Row, str]]:
    """Return the rows that a method must beat, each with its colour."""
    # That of the same time is of the same samples, too, where a method does nothing but train.
    controls = ((line.random, _RANDOM), (line.same_seconds or line.fewer_epochs, _FEWER))
    return [(control.row, colour) for control, colour in controls if control is not None]


def _saved_as_asked(line: Line) -> bool:
    return abs(line.rate - (line.row.prune_ratio or 0.0)) <= SAME_RATE


def _limits(
    lines: Sequence[Line], differences: Mapping[Row, float], margin: float
) -> tuple[float, float]:
    """Frame the lines, but let no method that is far from all others squeeze them.

    Far is what Tukey calls far out: three interquartile ranges beyond the quartiles.
    """
    lower, _, upper = quantiles([differences[line.row] for line in lines], n=4)
    reach = max(3 * (upper - lower), 2 * margin)
    near = [line for line in lines if lower - reach <= differences[line.row] <= upper + reach]
    means = [differences[line.row] for line in near]
    ends = [end for line in near for end in _ends(line, differences[line.row])]
    opponents = [differences[row] for line in near for row, _ in _opponents(line)]
    return limits([0.0, *means], [-margin, *ends, *opponents], 2 * margin)


def _colour(method: str) -> str:
    known = {"random": _RANDOM, "fewer-epochs": _FEWER}
    return known.get(method, MUTED if is_control(method) else _METHOD)


def _draw_block(
    row: Sequence[Axes],
    block: Block,
    differences: Mapping[Row, float],
    margin: float,
    heading: str,
) -> None:
    for axes, (ratio, panel) in zip(row, block.panels.items(), strict=False):
        _draw_panel(axes, block, margin)
        title = f"{heading if axes is row[0] else ''}prune ratio {ratio:g}"
        axes.set_title(title, fontsize=10, color=MUTED, loc="left")
        for place, height, name in zip(block.places, block.heights, block.methods, strict=True):
            if name not in panel:
                continue
            _draw_row(axes, panel[name], place, differences[panel[name].row])
            for opponent, colour in _opponents(panel[name]):
                edges = place - height / 2, place + height / 2
                axes.vlines(differences[opponent], *edges, color=colour, linewidth=1.2, zorder=2)
    for axes in row[len(block.panels) :]:
        axes.set_visible(False)
    _name_rows(row[0], block)


def _draw_panel(axes: Axes, block: Block, margin: float) -> None:
    axes.set_ylim(sum(block.heights), 0)
    axes.axvspan(-margin, 0, color=PALE, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    axes.hlines(block.places, *axes.get_xlim(), color=RULE, linewidth=0.6, zorder=0.5)
    axes.tick_params(axis="x", colors=MUTED, length=0, labelbottom=True)
    axes.tick_params(axis="y", length=0, pad=7)
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def _name_rows(axes: Axes, block: Block) -> None:
    axes.set_yticks(block.places, [wrapped(name) for name in block.methods])
    for label, name in zip(axes.get_yticklabels(), block.methods, strict=True):
        label.set_color(_colour(name) if is_control(name) else INK)


def _draw_row(axes: Axes, line: Line, place: float, middle: float) -> None:
    """Draw a point and its bar, with arrows where they reach beyond the axis."""
    colour, (down, up) = _colour(line.row.method), bar(line)
    small: Any = {"va": "center", "fontsize": 8.5, "color": colour}
    low, high = axes.get_xlim()
    if not _saved_as_asked(line):
        share, outside = f"{100 * line.rate:.0f} %", axes.get_yaxis_transform()
        axes.text(1.01, place, share, transform=outside, **small)
    on_rule: Any = small | {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
    if middle < low:
        axes.text(low, place, f"◂ {signed(middle)}", ha="left", **on_rule)
        return
    if middle > high:
        axes.text(high, place, f"{signed(middle)} ▸", ha="right", **on_rule)
        return
    axes.errorbar(
        middle,
        place,
        xerr=[[down], [up]],
        fmt="o",
        color=colour,
        markerfacecolor=colour if _saved_as_asked(line) else "white",
        markersize=_MARKER,
        elinewidth=1.4,
        zorder=3,
        label=line.row.method,
    )
    for end, limit, arrow in zip(_ends(line, middle), (low, high), "<>", strict=True):
        if not low <= end <= high:
            axes.plot(limit, place, arrow, color=colour, markersize=_MARKER, clip_on=False)


def _unit(metric: Metric) -> str:
    if metric.higher_is_better:
        return f"difference to full training, {metric.points} of test {metric.name}"
    return f"difference to full training, {metric.name} on the test split: plus is better"


def _explain(
    figure: Figure, full: str, band: str, title: str, *, is_hollow: bool, is_cut: bool
) -> None:
    """Write below the panels what is what, and no more than there is."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def key(label: str, colour: str, marker: str, **more: Any) -> Line2D:
        size = 11 if marker == "|" else _MARKER
        return Line2D([], [], color=colour, marker=marker, markersize=size, label=label, **more)

    handles: list[Line2D | Patch] = [key("mean, 95 % paired interval over seeds", _METHOD, "o")]
    if is_hollow:
        text = "saved the share written beside it"
        handles.append(key(text, _METHOD, "o", markerfacecolor="white"))
    handles += [
        key("random pruning, same share saved", _RANDOM, "|", linewidth=0),
        key("fewer epochs, as long", _FEWER, "|", linewidth=0),
        key(full, INK, "|", linewidth=0),
        Patch(color=PALE, label=band),
    ]
    if is_cut:
        handles.append(key("reaches beyond the axis", _METHOD, "<", linewidth=0))
    figure.legend(
        handles=handles,
        title=title,
        alignment="left",
        loc="outside lower left",
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=MUTED,
    )
