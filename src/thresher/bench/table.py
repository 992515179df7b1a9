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


_COST = ("saved", "samples", "reference", "extra forwards", "time", "speed-up")
_CONTROLS = ("beats random?", "beats fewer epochs?")


def terminal(lines: Sequence[Line], heading: Heading, width: int) -> list[Table]:
    """Return what rich prints: one table if the terminal is wide enough, else two that fit better.

    On narrow terminals what was saved and what it cost come apart, and the differences to the
    controls are left out; `table.md` has everything.

    Args:
        lines: of the table.
        heading: with its title.
        width: of the terminal, in characters.
    """
    columns = cells(lines)
    if _width(columns) <= width:
        return [_terminal_table(lines, columns, heading.title)]
    common = {"method", "step", "asked"}
    cost = {name: column for name, column in columns.items() if name in common | {*_COST}}
    outcome = {name: column for name, column in columns.items() if name not in _COST}
    if _width(outcome) > width:
        outcome = {name: column for name, column in outcome.items() if name not in _CONTROLS}
    first = _terminal_table(lines, cost, f"{heading.title}: what was saved")
    return [first, _terminal_table(lines, outcome, f"{heading.title}: what it cost")]


def _width(columns: dict[str, list[str]]) -> int:
    return sum(max(map(len, (name, *column))) + 3 for name, column in columns.items())


def _terminal_table(lines: Sequence[Line], columns: dict[str, list[str]], title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in _TEXTS else "right")
    previous = lines[0].row.prune_ratio
    for line, row in zip(lines, zip(*columns.values(), strict=True), strict=True):
        if previous != line.row.prune_ratio:
            table.add_section()
        previous = line.row.prune_ratio
        texts = [Text(cell, style=_style(cell)) for cell in row]
        table.add_row(*texts, style="dim" if is_control(line.row.method) else "")
    return table


def markdown(lines: Sequence[Line], heading: Heading) -> str:
    """Return the table as a Markdown page."""
    columns = cells(lines)
    aligned = ["---" if name in _TEXTS else "---:" for name in columns]
    rows = zip(*columns.values(), strict=True)
    table = [f"| {' | '.join(row)} |" for row in (columns, aligned, *rows)]
    parts = [f"# {heading.title}", f"    {heading.command}", "\n".join(table)]
    return "\n\n".join([*parts, *legend(lines, heading)]) + "\n"


_TEXTS = ("method", "step", "verdict", "helped?")


def cells(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return every column's cells by the column's name; columns without content are left out."""
    columns: dict[str, list[str]] = {
        "method": [line.row.label for line in lines],
        "step": [line.row.step_length for line in lines],
        "asked": [_number(line.row.prune_ratio, ".2f") for line in lines],
        "saved": [f"{line.rate:.3f}" for line in lines],
        "samples": [f"{line.samples:,.0f}" for line in lines],
        "reference": [f"{line.reference:,.0f}" for line in lines],
        "extra forwards": [f"{line.extra_forwards:,.0f}" for line in lines],
        "time": [duration(line.seconds) for line in lines],
        "speed-up": [_number(line.speed_up, ".2f", "×") for line in lines],
        "accuracy %": [_mean_sd(line) for line in lines],
        "to full [95 %]": [_difference(line) for line in lines],
        "verdict": [line.verdict for line in lines],
        "beats random?": [_beaten(line.random) for line in lines],
        "beats fewer epochs?": [_beaten(line.fewer_epochs) for line in lines],
        "helped?": [line.has_helped for line in lines],
    }
    if not any(line.extra_forwards for line in lines):
        del columns["extra forwards"]
    if not any(line.reference for line in lines):
        del columns["reference"]
    return columns


def legend(lines: Sequence[Line], heading: Heading) -> list[str]:
    """Return what a reader has to know, one paragraph each."""
    margin = f"{heading.margin:g}"
    tried = [line for line in lines if not is_control(line.row.method)]
    helped = [line for line in tried if line.has_helped == "yes"]
    texts = [
        f"{heading.num_seeds} seed{'s' * (heading.num_seeds != 1)}; under one seed all rows share "
        "initial weights, data order and augmentation. Asked and saved: shares of the full run's "
        "sample visits. Time: wall clock of the training loop, selection included, evaluation not; "
        "speed-up: paired with full. Accuracy: of the last epoch, mean ± sd.",
        "To full: mean paired difference in points, with its own 95 % t interval. Verdicts, "
        "corrected for the number of rows (Holm): better: low > 0; else lossless: low > "
        f"−{margin}; else worse: high < 0; else undecided; (equivalent): also high < {margin}.",
        "Beats random: paired with random pruning at the same rate and step length; beats fewer "
        "epochs: with the number of epochs of nearest cost; yes, no, not shown: corrected alike. "
        "A method that does not beat both has not helped: "
        f"{len(helped)} of {len(tried)} rows are shown to have.",
    ]
    if any(line.reference for line in lines):
        texts.append(
            "Reference: sample visits of training the model that a static method chooses by. "
            "Asked, saved and samples leave it out, and so do the controls, which have the same "
            "rate; time and speed-up have it in them, with asking it and the choice, in full for "
            "each row though rows may share a reference."
        )
    missing = [line for line in lines if line.num_seeds != heading.num_seeds]
    if missing:
        rows = ", ".join(f"{line.row} ({line.num_seeds})" for line in missing)
        texts.append(f"Incomplete rows, with their finished seeds: {rows}.")
    return [*texts, *heading.notes]


def duration(seconds: float) -> str:
    """Return a time as a person reads it.

    Example:
        >>> duration(3.21), duration(75.0), duration(4000.0)
        ('3.2 s', '1 min 15 s', '1 h 06 min')
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
