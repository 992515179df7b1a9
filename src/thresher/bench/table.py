"""The table: for the terminal, and the same as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from thresher.bench.catalogue import is_control
from thresher.bench.looks import alpha_of
from thresher.bench.metrics import ACCURACY, Metric
from thresher.bench.summary import Control, Line, Records

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
        metric: what was measured.
        looks: the numbers of seeds that were named beforehand, if seeds are added.
    """

    title: str
    num_seeds: int
    margin: float
    notes: Sequence[str]
    command: str
    metric: Metric = ACCURACY
    looks: Sequence[int] = ()


_COST = ("saved", "samples", "reference", "extra forwards", "FLOPs", "time", "speed-up")
_CONTROLS = ("beats random?", "beats fewer epochs?", "beats same time?", "front?")


def terminal(lines: Sequence[Line], heading: Heading, width: int) -> list[Table]:
    """Return what rich prints: one table if the terminal is wide enough, else two that fit better.

    On narrow terminals what was saved and what it cost come apart, and the differences to the
    controls are left out; `table.md` has everything.

    Args:
        lines: of the table.
        heading: with its title.
        width: of the terminal, in characters.
    """
    columns = cells(lines, heading.metric)
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
    columns = cells(lines, heading.metric)
    aligned = ["---" if name in _TEXTS else "---:" for name in columns]
    rows = zip(*columns.values(), strict=True)
    table = [f"| {' | '.join(row)} |" for row in (columns, aligned, *rows)]
    parts = [f"# {heading.title}", f"    {heading.command}", "\n".join(table)]
    return "\n\n".join([*parts, *legend(lines, heading)]) + "\n"


_TEXTS = ("method", "step", "verdict", "helped?")


def cells(lines: Sequence[Line], metric: Metric = ACCURACY) -> dict[str, list[str]]:
    """Return every column's cells by the column's name; columns without content are left out."""
    columns: dict[str, list[str]] = {
        "method": [line.row.label for line in lines],
        "step": [line.row.step_length for line in lines],
        "asked": [_number(line.row.prune_ratio, ".2f") for line in lines],
        "saved": [f"{line.rate:.3f}" for line in lines],
        "samples": [f"{line.samples:,.0f}" for line in lines],
        "reference": [f"{line.reference:,.0f}" for line in lines],
        "extra forwards": [f"{line.extra_forwards:,.0f}" for line in lines],
        "FLOPs": [_number(line.flops, ".3f") for line in lines],
        "time": [duration(line.seconds) for line in lines],
        "speed-up": [_number(line.speed_up, ".2f", "×") for line in lines],
        heading_of(metric): [mean_sd(line, metric.digits) for line in lines],
        "to full [95 %]": [difference(line, metric.digits) for line in lines],
        "verdict": [line.verdict for line in lines],
        "beats random?": [_beaten(line.random, metric.digits) for line in lines],
        "beats fewer epochs?": [_beaten(line.fewer_epochs, metric.digits) for line in lines],
        "beats same time?": [_beaten(line.same_seconds, metric.digits) for line in lines],
        "front?": [place_on_front(line) for line in lines],
        "helped?": [line.has_helped for line in lines],
    }
    if not any(line.extra_forwards for line in lines):
        del columns["extra forwards"]
    if not any(line.reference for line in lines):
        del columns["reference"]
    if all(math.isnan(line.flops) for line in lines):
        del columns["FLOPs"]
    if not any(has_own_time(line) for line in lines):
        del columns["beats same time?"]
    return columns


def has_own_time(line: Line) -> bool:
    """Return whether fewer epochs of the same time are others than those of as many samples."""
    if line.same_seconds is None or line.fewer_epochs is None:
        return False
    return line.same_seconds.row != line.fewer_epochs.row


def heading_of(metric: Metric) -> str:
    """Return the name of the metric's column.

    Example:
        >>> heading_of(ACCURACY)
        'accuracy %'
    """
    return metric.name if metric.unit in metric.name else f"{metric.name} {metric.unit}"


def legend(lines: Sequence[Line], heading: Heading) -> list[str]:
    """Return what a reader has to know, one paragraph each."""
    margin, metric = f"{heading.margin:g}", heading.metric
    tried = [line for line in lines if not is_control(line.row.method)]
    helped = [line for line in tried if line.has_helped == "yes"]
    texts = [
        f"{heading.num_seeds} seed{'s' * (heading.num_seeds != 1)}; under one seed all rows share "
        "initial weights, data order and augmentation. Asked and saved: shares of the full run's "
        "sample visits. Time: wall clock of the training loop, selection included, evaluation not; "
        f"speed-up: paired with full. {_capital(metric.name)}: of the last epoch, mean ± sd.",
        f"To full: mean paired difference in {metric.points}{_direction(metric)}, "
        "with its own 95 % t interval. Verdicts, corrected for the number of rows (Holm): better: "
        f"low > 0; else lossless: low > −{margin}; else worse: high < 0; else undecided; "
        f"(equivalent): also high < {margin}.",
        "Beats random: paired with random pruning at the same rate and step length; beats fewer "
        "epochs: with the fewest that cost at least as much, in samples and (beats same time) in "
        "seconds; yes, no, not shown: corrected alike. A method that does not beat them all has "
        f"not helped: {len(helped)} of {len(tried)} rows are shown to have.",
        "Front: yes: no row that takes as little time has a better mean; no: one is shown to be "
        "better (corrected for all pairs); perhaps: one has a better mean, which may be chance. In "
        "percent: how often it is undominated if seeds are drawn anew from these.",
    ]
    if heading.looks:
        texts.insert(1, _looks(heading))
    if any(line.reference for line in lines):
        texts.append(
            "Reference: sample visits of training the model that a static method chooses by. "
            "Asked, saved and samples leave it out, and so do the controls, which have the same "
            "rate; time and speed-up have it in them, with asking it and the choice, in full for "
            "each row though rows may share a reference."
        )
    if not all(math.isnan(line.flops) for line in lines):
        texts.append(
            "FLOPs: of forward and backward passes, extra forwards and a reference model included, "
            "as a share of full training's."
        )
    missing = [line for line in lines if line.num_seeds != heading.num_seeds]
    if missing:
        rows = ", ".join(f"{line.row} ({line.num_seeds})" for line in missing)
        texts.append(f"Incomplete rows, with their finished seeds: {rows}.")
    return [*texts, *heading.notes]


def notes(records: Records, about_task: str) -> list[str]:
    """Return what the runs and the task have to say about themselves, each thing once."""
    found: dict[str, None] = {}
    machines: set[str] = set()
    for row, runs in records.items():
        machines |= {repr(sorted(run.get("machine", {}).items())) for run in runs.values()}
        # One seed speaks for the row: such notes hold a number that differs a little between seeds.
        for note in next(iter(runs.values()), {}).get("notes", ()):
            found[f"{row}: {note}"] = None
    if len(machines) > 1:
        found["These runs come from different machines: times and speed-ups mean little."] = None
    if about_task:
        found[about_task] = None
    return list(found)


def _looks(heading: Heading) -> str:
    at, alpha = ", ".join(map(str, heading.looks)), alpha_of(heading.num_seeds, heading.looks)
    return (
        f"Looks were named beforehand, at {at} seeds; this one is judged at {100 * alpha:.2g} % in "
        "place of 5, so that at all of them together no more is wrong than at one."
    )


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

    A dash stands for what is no number, as after a run that diverged.

    Example:
        >>> signed(0.123), signed(-0.456), signed(-0.001), signed(float("nan"))
        ('+0.12', '−0.46', '0.00', '–')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None or math.isnan(value) else f"{value:{form}}{unit}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _direction(metric: Metric) -> str:
    return "" if metric.higher_is_better else " (less is better, and plus means better)"


def mean_sd(line: Line, digits: int) -> str:
    """Return a line's metric with its spread; a dash if a run diverged."""
    if not math.isfinite(line.mean):
        return "–"
    mean = f"{line.mean:.{digits}f}"
    return mean if math.isnan(line.sd) else f"{mean} ± {line.sd:.{digits}f}"


def difference(line: Line, digits: int) -> str:
    """Return a line's mean difference to full, with its interval if there is one."""
    if line.difference is None or math.isnan(line.difference.mean):
        return "–"
    interval = line.difference.interval()
    mean = signed(line.difference.mean, digits)
    if interval is None:
        return mean
    return f"{mean} [{signed(interval[0], digits)}, {signed(interval[1], digits)}]"


def _beaten(control: Control | None, digits: int) -> str:
    if control is None or math.isnan(control.difference.mean):
        return "–"
    mean = signed(control.difference.mean, digits)
    return mean if control.is_beaten == "one seed" else f"{mean} {control.is_beaten}"


def place_on_front(line: Line) -> str:
    """Return whether nothing beats a line in time and quality, and how often that is so."""
    return line.front if math.isnan(line.front_share) else f"{line.front} {line.front_share:.0%}"


def _style(cell: str) -> str:
    last = cell.split(" ", 1)[-1]
    if last == "yes" or cell.startswith(("better", "lossless")):
        return "green"
    return "red" if last == "no" or cell == "worse" else ""
