"""A progress bar that shows what is being saved, by rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

from thresher.pruner import Pruner

if TYPE_CHECKING:
    from rich.console import Console


@final
class progress_bar:  # noqa: N801 - used like tqdm's
    """Iterate over a wrapped loader with a bar that says what pruning saves.

    Beside the batches of the epoch: how much of the data this epoch leaves out, how much of the
    run's visits were left out so far, and about how long they would have taken, at the pace of
    those that were trained. The bar is gone when the epoch is over, and nothing is shown where the
    output is no terminal. Online methods also pay for looking at candidates, so no time is claimed.

    Args:
        loader: the one that `pruner.wrap` returned, or what a framework made of it.
        pruner: the run's.
        console: rich's, where to show it; None: the standard error.

    Cost: a report an epoch, which is a pass over the plan's weights.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from thresher import Pruner, RandomPruning
        >>> from thresher.integrations.progress import progress_bar
        >>> pruner = Pruner(RandomPruning(prune_ratio=0.5), epochs=3)
        >>> loader = progress_bar(pruner.wrap(DataLoader(torch.arange(8.0), 2)), pruner)
        >>> for epoch in range(3):
        ...     for losses in loader:
        ...         loss = pruner.reduce(losses)
        >>> loader.text
        'epoch 3 of 3 · 50 % left out · 50 % of all visits saved'
    """

    def __init__(
        self, loader: Iterable[Any], pruner: Pruner, *, console: Console | None = None
    ) -> None:
        try:
            from rich.console import Console
        except ImportError as error:
            raise ImportError(
                "A progress bar needs rich: pip install rich", name=error.name
            ) from error

        self._loader, self._pruner = loader, pruner
        self._console = console or Console(stderr=True)
        self._seconds = 0.0
        self._visits = 0
        self.text = ""

    def __len__(self) -> int:
        assert isinstance(self._loader, Sized)
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}")
        bar = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        began, trained = perf_counter(), self._trained()
        with bar:
            task = bar.add_task("", total=self._length())
            try:
                for number, batch in enumerate(self._loader):
                    if number == 1:
                        # Only now: an epoch is the run's present one once a batch of it is trained.
                        self.text = self._told()
                    bar.update(task, completed=number, description=self.text)
                    yield batch
            finally:
                self._seconds += perf_counter() - began
                self._visits += self._trained() - trained
                self.text = self._told()

    def _length(self) -> int | None:
        try:
            return len(self)
        except TypeError:  # a pass over a stream, whose end nobody knows
            return None

    def _trained(self) -> int:
        return self._pruner.report().trained

    def _told(self) -> str:
        """Return what is saved, in words."""
        report = self._pruner.report()
        if not report.rows:
            return ""
        rows = report.rows
        # Of a stream what passed by so far, of which a part is trained.
        visits = [row.passed or report.num_samples for row in rows]
        left_out = [
            max(0, seen - (row.trained if row.passed else row.planned))
            for seen, row in zip(visits, rows, strict=True)
        ]
        of = "" if report.epochs is None else f" of {report.epochs}"
        parts = [
            f"epoch {len(rows)}{of}",
            f"{100 * left_out[-1] / max(1, visits[-1]):.0f} % left out",
            f"{100 * sum(left_out) / max(1, sum(visits)):.0f} % of all visits saved",
        ]
        if self._visits and not report.extra_forwards:
            seconds = self._seconds / self._visits * sum(left_out)
            parts += [f"about {_duration(seconds)}"] if seconds >= 1 else []
        return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
