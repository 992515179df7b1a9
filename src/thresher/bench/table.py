"""The table: for the terminal, and the same as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from thresher.bench.catalogue import is_control
from thresher.bench.summary import Control, Line

if TYPE_CHECKING:
    from rich.table import Table


@final
@dataclass(frozen=True, kw_only=True)
class Heading:
    """What is said above and below the table.

    Args:
        title: the task.
        num_seeds: how many were asked for.
        margin: δ, in points.
        notes: further paragraphs.
        command: that makes the table again.
    """

    title: str
    num_seeds: int
    margin: float
    notes: Sequence[str]
    command: str


def terminal(lines: Sequence[Line], heading: Heading) -> Table:
    """Return the table as rich prints it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=heading.title, box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    names, rows = cells(lines)
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=index != 0)
    previous = None
    for line, row in zip(lines, rows, strict=True):
        if previous is not None and previous != line.row.prune_ratio:
            table.add_section()
        previous = line.row.prune_ratio
        texts = [Text(cell, style=_style(cell)) for cell in row]
        table.add_row(*texts, style="dim" if is_control(line.row.method) else "")
    return table


def markdown(lines: Sequence[Line], heading: Heading) -> str:
    """Return the table as a Markdown page."""
    names, rows = cells(lines)
    aligned = ["---" if index < 2 else "---:" for index in range(len(names))]
    table = [f"| {' | '.join(cell)} |" for cell in (names, aligned, *rows)]
    parts = [f"# {heading.title}", f"    {heading.command}", "\n".join(table)]
    return "\n\n".join([*parts, *legend(lines, heading)]) + "\n"


def cells(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Return the column names and every row's cells; columns without content are left out."""
    columns: dict[str, list[str]] = {
        "method": [line.row.label for line in lines],
        "step": [line.row.step_length for line in lines],
        "asked": [_number(line.row.prune_ratio, ".2f") for line in lines],
        "saved": [f"{line.rate:.3f}" for line in lines],
        "samples": [f"{line.samples:,.0f}" for line in lines],
        "time": [duration(line.seconds) for line in lines],
        "speed-up": [_number(line.speed_up, ".2f", "×") for line in lines],
        "accuracy %": [_mean_sd(line) for line in lines],
        "to full [95 %]": [_difference(line) for line in lines],
        "verdict": [line.verdict for line in lines],
        "> random?": [_beaten(line.random) for line in lines],
        "> fewer epochs?": [_beaten(line.fewer_epochs) for line in lines],
    }
    if any(line.extra_forwards for line in lines):
        columns["extra forwards"] = [f"{line.extra_forwards:,.0f}" for line in lines]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def legend(lines: Sequence[Line], heading: Heading) -> list[str]:
    """Return what a reader has to know, one paragraph each."""
    margin = f"{heading.margin:g}"
    texts = [
        f"{heading.num_seeds} seed{'s' * (heading.num_seeds != 1)}; under one seed all rows share "
        "initial weights, data order and augmentation. Accuracy is the last epoch's, mean ± sd. "
        "Time is the training loop's wall clock, selection included, evaluation not; speed-up is "
        "paired with full in this comparison. Asked and saved are shares of the full run's sample visits.",
        "To full: mean paired difference in points with its own 95 % t interval. Verdicts are corrected "
        "for the number of rows (Holm): better: low > 0; else lossless: low > "
        f"−{margin}; else worse: high < 0; else undecided; (equivalent): also high < {margin}.",
        "> random?: against random pruning at the same rate and step length; > fewer epochs?: against "
        "the number of epochs of nearest cost. Mean paired difference, and yes, no or not shown (Holm).",
    ]
    if judgement := _judgement(lines):
        texts.append(judgement)
    if any(line.num_seeds != heading.num_seeds for line in lines):
        rows = [f"{line.row} {line.num_seeds}" for line in lines if line.num_seeds != heading.num_seeds]
        texts.append(f"Incomplete, finished seeds: {', '.join(rows)}.")
    return [*texts, *heading.notes]


def _judgement(lines: Sequence[Line]) -> str:
    """Say which methods have helped; §8 of the design: beating full's time alone is not it."""
    tried = [line for line in lines if not is_control(line.row.method)]
    if not tried:
        return ""
    helped = ", ".join(str(line.row) for line in tried if line.has_helped) or "none"
    others = ", ".join(str(line.row) for line in tried if not line.has_helped) or "none"
    return (
        "A method has helped only if it beats both random pruning at the same rate and fewer epochs at "
        f"the same cost. Shown here: {helped}. Not shown: {others}."
    )


def duration(seconds: float) -> str:
    """Return a time as a person reads it.

    Example:
        >>> duration(3.21), duration(75.0), duration(4000.0)
        ('3.2 s', '1 min 15 s', '1 h 07 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, a true minus, and no sign on what rounds to zero.

    Example:
        >>> signed(0.123), signed(-0.456), signed(-0.001)
        ('+0.12', '−0.46', '0.00')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None or math.isnan(value) else f"{value:{form}}{unit}"


def _mean_sd(line: Line) -> str:
    return f"{line.mean:.2f}" if math.isnan(line.sd) else f"{line.mean:.2f} ± {line.sd:.2f}"


def _difference(line: Line) -> str:
    if line.difference is None:
        return "–"
    interval = line.difference.interval()
    mean = signed(line.difference.mean)
    if interval is None:
        return mean
    return f"{mean} [{signed(interval[0])}, {signed(interval[1])}]"


def _beaten(control: Control | None) -> str:
    if control is None:
        return "–"
    mean = signed(control.difference.mean)
    return mean if control.is_beaten == "one seed" else f"{mean} {control.is_beaten}"


def _style(cell: str) -> str:
    last = cell.split(" ", 1)[-1]
    if last == "yes" or cell.startswith(("better", "lossless")):
        return "green"
    return "red" if last == "no" or cell == "worse" else ""
