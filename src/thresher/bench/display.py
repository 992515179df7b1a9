"""What a person sees while a comparison runs: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from thresher.bench.metrics import ACCURACY, Metric
from thresher.bench.pace import Pace
from thresher.bench.suite import Row, RunConfig
from thresher.bench.summary import charged
from thresher.bench.table import duration, signed
from thresher.bench.workers import Advanced, Event, Failed, Finished, Started

if TYPE_CHECKING:
    from rich.console import Console


FullOf = Callable[[RunConfig], Mapping[str, Any] | None]
"""Returns the finished run of full training that a run is compared with."""


@final
class Display:
    """Shows runs as they go: a line for each that ends, and on a terminal a bar for each that runs.

    Use as a context manager around the events of one batch of runs.

    Args:
        console: where to.
        configs: the runs to come.
        full_of: finds what a run is compared with.
        pace: of runs that are finished already, here or earlier.
        names: what to call a run's task, by the run's key; none if there is one task only.
        metrics: what is measured, by task; accuracy where nothing is said.
    """

    def __init__(
        self,
        console: Console,
        configs: Sequence[RunConfig],
        full_of: FullOf,
        pace: Pace | None = None,
        names: Mapping[str, str] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console, self._full_of, self._names = console, full_of, names or {}
        self._pace, self._metrics = pace or Pace(), metrics or {}
        self._waiting = {config.key: config for config in configs}
        self._num_runs, self._num_ended = len(configs), 0
        self._running: dict[int, tuple[RunConfig, int]] = {}
        self._workers: set[int] = set()
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
        if self._progress is not None:
            self._progress.start()
            self._total = self._progress.add_task("all runs", total=self._num_runs, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def leave_out(self, config: RunConfig) -> None:
        """Forget a run that somebody else has made."""
        if self._waiting.pop(config.key, None) is not None:
            self._num_runs -= 1

    def show(self, event: Event) -> None:
        """Take one event."""
        # One that has just ended a run takes the next as long as there is any.
        self._workers.add(event.worker)
        if isinstance(event, Started):
            self._waiting.pop(event.config.key, None)
            self._running[event.worker] = (event.config, 0)
        elif isinstance(event, Advanced):
            self._running[event.worker] = (event.config, event.epochs_done)
        else:
            self._running.pop(event.worker)
            self._num_ended += 1
            if isinstance(event, Finished):
                self._pace.see(event.record)
            self._console.print(self._line(event), highlight=False, soft_wrap=True)
        if self._progress is not None:
            self._draw(event)

    def _draw(self, event: Event) -> None:
        bars, config = self._progress, event.config
        if event.worker not in self._bars:
            self._bars[event.worker] = bars.add_task("", total=1, text="")
        bar = self._bars[event.worker]
        name = self._name(config)
        if isinstance(event, Started):
            bars.reset(bar, description=name, total=config.trained_epochs, text="starting")
        elif isinstance(event, Advanced):
            reached = self._metrics.get(config.task, ACCURACY).text(event.metric)
            text = f"epoch {event.epochs_done}/{config.trained_epochs} · {reached}"
            bars.update(bar, completed=event.epochs_done, text=text)
        else:
            bars.update(bar, description="[dim]idle", completed=0, text="")
        text = f"{self._num_ended}/{self._num_runs} runs{self._left()}"
        shares = (done / config.trained_epochs for config, done in self._running.values())
        bars.update(
            self._total,
            completed=self._num_ended + sum(shares),
            total=self._num_runs,
            text=text,
        )

    def _line(self, event: Finished | Failed) -> str:
        config = event.config
        head = f"[{self._num_ended}/{self._num_runs}] {self._name(config)}"
        # rich reads [1/9] as nothing special, but a name in brackets as a style.
        head = head.replace("[", r"\[", 1)
        if isinstance(event, Failed):
            return f"{head}: [bold red]failed[/]: {_escaped(event.reason)}"
        record = event.record
        seconds = charged(record)
        metric = self._metrics.get(config.task, ACCURACY)
        parts = [metric.text(record["metric"]), duration(seconds)]
        full = self._full_of(config)
        if full is not None and config.method != "full":
            gain = metric.gain(record["metric"], full["metric"])
            parts[0] += f" ({signed(gain, metric.digits)})"
            parts[1] += f" ({charged(full) / seconds:.2f}× as fast as full)"
        if config.method != "full":
            parts.append(f"{100 * record['prune_rate']:.1f} % of visits saved")
        # On a terminal the bar below says how long it takes.
        left = "" if self._progress is not None else self._left()
        return f"{head}: {', '.join(parts)}{left}"

    def _name(self, config: RunConfig) -> str:
        name = f"{row_of(config)} · seed {config.seed}"
        return f"{self._names[config.key]} · {name}" if config.key in self._names else name

    def _left(self) -> str:
        work = [(config.task, config.expected_epochs) for config in self._waiting.values()]
        for config, done in self._running.values():
            work.append((config.task, config.expected_epochs * (1 - done / config.trained_epochs)))
        seconds = [self._pace.seconds(task, epochs) for task, epochs in work]
        if not seconds or None in seconds:
            return ""
        left = sum(each for each in seconds if each is not None)
        return f" · about {duration(left / min(len(work), len(self._workers)))} left"


def row_of(config: RunConfig) -> Row:
    """Return the row a run belongs to, as far as its configuration tells."""
    return Row(config.method, config.prune_ratio, config.step_exponent)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
