"""What a person sees while a comparison runs: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from thresher.bench.metrics import ACCURACY, Metric
from thresher.bench.suite import Row, RunConfig
from thresher.bench.summary import charged
from thresher.bench.table import duration, signed
from thresher.bench.workers import Advanced, Event, Failed, Finished, Started

if TYPE_CHECKING:
    from rich.console import Console


@final
class Display:
    """Shows runs as they go: a line for each that ends, and on a terminal a bar for each that runs.

    Use as a context manager around the events of one batch of runs.

    Args:
        console: where to.
        configs: the runs to come.
        full: finished runs of full training by seed, to compare others with; grows as they come.
        metric: what the runs measure.
    """

    def __init__(
        self,
        console: Console,
        configs: Sequence[RunConfig],
        full: dict[int, dict[str, Any]],
        metric: Metric = ACCURACY,
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console, self._full, self._metric = console, full, metric
        self._num_runs, self._num_ended = len(configs), 0
        self._work = sum(config.expected_epochs for config in configs)
        self._work_done = 0.0
        self._shares: dict[int, float] = {}
        self._bars: dict[int, Any] = {}
        self._progress: Any = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[text]}"),
                console=console,
                transient=True,
            )

    def __enter__(self) -> Display:
        self._began = time.monotonic()
        if self._progress is not None:
            self._progress.start()
            self._total = self._progress.add_task("all runs", total=self._work, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, event: Event) -> None:
        """Take one event."""
        work = event.config.expected_epochs
        if isinstance(event, Started):
            self._shares[event.worker] = 0.0
        elif isinstance(event, Advanced):
            done = work * event.epochs_done / event.config.trained_epochs
            self._work_done += done - self._shares[event.worker]
            self._shares[event.worker] = done
        else:
            self._work_done += work - self._shares.pop(event.worker)
            self._num_ended += 1
            if isinstance(event, Finished) and event.config.method == "full":
                self._full[event.config.seed] = event.record
            self._console.print(self._line(event), highlight=False, soft_wrap=True)
        if self._progress is not None:
            self._draw(event)

    def _draw(self, event: Event) -> None:
        bars, config = self._progress, event.config
        if event.worker not in self._bars:
            self._bars[event.worker] = bars.add_task("", total=1, text="")
        bar = self._bars[event.worker]
        name = f"{row_of(config)} · seed {config.seed}"
        if isinstance(event, Started):
            bars.reset(bar, description=name, total=config.trained_epochs, text="starting")
        elif isinstance(event, Advanced):
            reached = self._metric.text(event.metric)
            text = f"epoch {event.epochs_done}/{config.trained_epochs} · {reached}"
            bars.update(bar, completed=event.epochs_done, text=text)
        else:
            bars.update(bar, description="[dim]idle", completed=0, text="")
        text = f"{self._num_ended}/{self._num_runs} runs{self._left()}"
        bars.update(self._total, completed=self._work_done, text=text)

    def _line(self, event: Finished | Failed) -> str:
        config = event.config
        head = f"[{self._num_ended}/{self._num_runs}] {row_of(config)} · seed {config.seed}"
        # rich reads [1/9] as nothing special, but a name in brackets as a style.
        head = head.replace("[", r"\[", 1)
        if isinstance(event, Failed):
            return f"{head}: [bold red]failed[/]: {_escaped(event.reason)}"
        record = event.record
        seconds = charged(record)
        parts = [self._metric.text(record["metric"]), duration(seconds)]
        full = self._full.get(config.seed)
        if full is not None and config.method != "full":
            gain = self._metric.gain(record["metric"], full["metric"])
            parts[0] += f" ({signed(gain, self._metric.digits)})"
            parts[1] += f" ({charged(full) / seconds:.2f}× as fast as full)"
        if config.method != "full":
            parts.append(f"{100 * record['prune_rate']:.1f} % of visits saved")
        # On a terminal the bar below says how long it takes.
        left = "" if self._progress is not None else self._left()
        return f"{head}: {', '.join(parts)}{left}"

    def _left(self) -> str:
        if self._work_done <= 0 or self._num_ended == self._num_runs:
            return ""
        spent = time.monotonic() - self._began
        return f" · about {duration(spent * (self._work / self._work_done - 1))} left"


def row_of(config: RunConfig) -> Row:
    """Return the row a run belongs to, as far as its configuration tells."""
    return Row(config.method, config.prune_ratio, config.step_exponent)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
