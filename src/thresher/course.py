"""What the passes of one loader go over: the clock's plans, cut into batches."""

from __future__ import annotations

from typing import Any, final

from thresher.clock import Clock
from thresher.errors import DatasetChangedError, EmptyEpochError
from thresher.progress import Progress


@final
class Grid:
    """How a loader cuts a plan into batches.

    Args:
        batch_size: samples a batch.
        drop_last: whether a smaller last batch is left out.
    """

    def __init__(self, batch_size: int, drop_last: bool) -> None:
        self.batch_size = batch_size
        self.drop_last = drop_last

    def stop(self, num_samples: int) -> int:
        """Return how many of `num_samples` planned samples are in a batch."""
        return num_samples - num_samples % self.batch_size if self.drop_last else num_samples


@final
class Course:
    """The plans of the clock as one loader passes over them.

    Args:
        dataset: the user's data set.
        clock: says which plan comes next.
        grid: how the loader cuts it into batches.
    """

    def __init__(self, dataset: Any, clock: Clock, grid: Grid) -> None:
        self.dataset = dataset
        self.grid = grid
        self._clock = clock

    def next_pass(self) -> tuple[Progress, int]:
        """Return the plan that a new pass goes over, and how many of its positions it trains."""
        size = len(self.dataset)
        if size != self._clock.budget.num_samples:
            raise DatasetChangedError(
                f"The data set has {size} samples",
                f"{self._clock.budget.num_samples}, as when training began",
                "Ids are positions in the data set, so it must keep its length; "
                "for a changed one start a new Pruner",
            )
        progress = self._clock.next(self.stop(self._clock.current))
        stop = self.stop(progress)
        if self.grid.stop(len(progress.plan)) == 0:
            raise EmptyEpochError(
                f"The plan of epoch {progress.plan.epoch} has {len(progress.plan)} samples and "
                f"drop_last=True leaves no batch of {self.grid.batch_size}",
                "at least one batch an epoch",
                "Lower the prune ratio or the batch size, or set drop_last=False",
            )
        return progress, stop

    def counted(self) -> Progress:
        """Return the epoch `len` counts: the one in progress, or the coming one if it is done."""
        current = self._clock.current
        return current if current.seen < self.stop(current) else self._clock.coming()

    def stop(self, progress: Progress) -> int:
        """Return how many of a plan's positions a pass trains: within batches and the budget."""
        stop = self.grid.stop(len(progress.plan))
        left = self._clock.batches_left(progress)
        return stop if left is None else min(stop, left * self.grid.batch_size)

    def num_batches(self, num_samples: int) -> int:
        """Return the batches of an epoch of `num_samples`, whatever the budget of steps."""
        return -(-self.grid.stop(num_samples) // self.grid.batch_size)
