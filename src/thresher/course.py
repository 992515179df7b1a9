"""What the passes of one loader go over: the clock's plans, cut into batches."""

from __future__ import annotations

from typing import Any, final

from torch.utils.data import DataLoader

from thresher.clock import Clock
from thresher.errors import DatasetChangedError, EmptyEpochError
from thresher.grid import Grid
from thresher.judging import Judge
from thresher.outline import Outline
from thresher.progress import Feed, Progress
from thresher.sources import StreamSource


@final
class Course:
    """The plans of the clock as one loader passes over them.

    Args:
        dataset: the user's data set.
        clock: says which plan comes next.
        grid: how the loader cuts it into batches.
        source: what passes over a stream go by; None: the data set has a length.
    """

    def __init__(
        self, dataset: Any, clock: Clock, grid: Grid, source: StreamSource | None = None
    ) -> None:
        self.dataset = dataset
        self.grid = grid
        self.clock = clock
        self.source = source

    def next_pass(self) -> tuple[Progress, int]:
        """Return the plan that a new pass goes over, and how many of its positions it trains."""
        size = self.clock.budget.num_samples if self.source else len(self.dataset)
        if size != self.clock.budget.num_samples:
            raise DatasetChangedError(
                f"The data set has {size} samples",
                f"{self.clock.budget.num_samples}, as when training began",
                "Ids are positions in the data set, so it must keep its length; "
                "for a changed one start a new Pruner",
            )
        progress = self.clock.next(self.stop(self.clock.current))
        stop = self.stop(progress)
        if progress.stop(self.grid) == 0:
            self._refuse_empty(progress)
        return progress, stop

    def feed(
        self, progress: Progress, stop: int, judge: Judge | None, inner: DataLoader[Any]
    ) -> Feed:
        """Return what a new pass goes by, up to position `stop`; `inner` is who fetches."""
        if self.source is not None:
            return self.source.feed(progress, stop, judge, inner)
        return progress.feed(self.grid.batch_size, stop, judge)

    def _refuse_empty(self, progress: Progress) -> None:
        why, size, cure = "drop_last=True", self.grid.batch_size, "set drop_last=False"
        if not self.grid.drop_last:
            why, size, cure = "remainder='drop'", 1, "set remainder='pad'"
        ranks = f" on {self.grid.world_size} ranks" * (self.grid.world_size > 1)
        raise EmptyEpochError(
            f"The plan of epoch {progress.plan.epoch} has {progress.plan.num_planned} samples and "
            f"{why} leaves no batch of {size}{ranks}",
            "at least one batch an epoch",
            f"Lower the prune ratio or the batch size, or {cure}",
        )

    def counted(self) -> Progress:
        """Return the epoch `len` counts: the one in progress, or the coming one if it is done.

        On several ranks it is the last one when the run is over: nobody answers then.
        """
        clock = self.clock
        current = clock.current
        is_done = current.seen >= self.stop(current)
        is_over = clock.team.are_many and clock.is_last
        return clock.coming() if is_done and not is_over else current

    def stop(self, progress: Progress) -> int:
        """Return how many of a plan's positions a pass trains: within batches and the budget."""
        return progress.stop(self.grid, self.clock.batches_left(progress))

    def num_batches(self, num_samples: int) -> int:
        """Return the batches of an epoch of `num_samples`, whatever the budget of steps."""
        if not num_samples:  # of a stream, where every epoch has as many
            return self.clock.current.num_batches(self.grid)
        return self.grid.num_batches(num_samples)


def next_epoch(clock: Clock, course: Course | None) -> int:
    """Return the epoch to train next: the one in progress, or the coming one if it is done."""
    current = clock.current
    if course is not None:
        stop = course.stop(current)
    elif isinstance(current.plan, Outline):
        stop = current.stop(Grid(batch_size=current.plan.batch_size))
    else:
        stop = len(current.plan)
    return clock.epoch + (current.seen >= stop)


def next_position(clock: Clock, course: Course | None) -> int:
    """Return the position of the epoch to train next at which training goes on."""
    return clock.current.seen if next_epoch(clock, course) == clock.epoch else 0
