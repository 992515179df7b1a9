"""What an epoch leaves behind: the ledger that has seen it, and its row of numbers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, final

from torch import Tensor

from thresher.accounting import Row
from thresher.errors import (
    AllLossesNaNError,
    CheckpointError,
    EpochError,
    StaleBatchError,
    ThresherWarning,
)
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.plan import Plan
from thresher.progress import Progress

Refresh = Callable[[Tensor], tuple[Mapping[str, Tensor], int]]
"""Scores samples, given by their rows, int64, with an extra forward pass: by name, float32; and
says how many all ranks have scored."""


@final
@dataclass(frozen=True)
class Coming:
    """The next epoch as the trace so far would make it."""

    progress: Progress
    ledger: Ledger
    row: Row
    planning_seconds: float
    micro_batches: int


def refuse_epoch(asked: int, epoch: int) -> NoReturn:
    """Say that a plan was asked for that is gone, or that nobody can know yet."""
    raise EpochError(
        f"plan({asked})",
        f"{epoch}, in progress, or {epoch + 1}, the next",
        "Earlier plans are gone, and later ones depend on scores to come",
    )


def refuse_stale(progress: Progress, epoch: int) -> NoReturn:
    """Say that a batch came too late."""
    raise StaleBatchError(
        f"This batch is of a plan of epoch {progress.plan.epoch} that no longer holds "
        f"(epoch {epoch} is in progress)",
        "a batch of the current plan, or of the newest plan of the next epoch",
        "Training a batch of an epoch drops the plan made early for the next one; "
        "start a new pass with iter(loader)",
    )


def resume(progress: Progress, pending: Mapping[str, Any], *, is_of_others: bool) -> None:
    """Put what was loaded into an epoch that was begun again, maybe from shards of others.

    Raises:
        CheckpointError: it is of another plan.
    """
    progress.load_state_dict(pending["progress"])
    if is_of_others or progress.checksum() == pending["checksum"]:
        return
    raise CheckpointError(
        f"The plan of epoch {progress.plan.epoch} cannot be derived again from this checkpoint",
        "the loader order, protected samples and torch random stream it was saved with",
        "Restore those, or continue from a checkpoint that was saved with these",
    )


def warn_of_silence(epoch: int, *, stacklevel: int) -> None:
    """Say that nothing was learned from an epoch."""
    warnings.warn(
        f"Epoch {epoch} is closed without one score; expected: pruner.observe or "
        "pruner.reduce for each of its batches.",
        ThresherWarning,
        stacklevel=stacklevel,
    )


def close(
    progress: Progress, ledger: Ledger, method: Method, refresh: Refresh | None
) -> tuple[Ledger, Row]:
    """Return a new ledger that remembers the epoch, and the epoch's row; changes neither argument.

    A method may want some samples scored anew; it gets them where a pass over them can be made.

    Raises:
        AllLossesNaNError: there is not one finite score.
    """
    start = time.perf_counter()
    progress.release()
    after = ledger.copy()
    row = progress.digest(method, after)
    if row.trained and row.non_finite == row.trained:
        raise AllLossesNaNError(
            f"All {row.trained} scores of epoch {row.epoch} are NaN or infinite",
            "finite losses",
            "Training has diverged: lower the learning rate, or check the loss and the data",
        )
    if refresh is not None and isinstance(progress.plan, Plan):
        rows = method.refreshed(after, progress.plan)
        rows = progress.plan.rows[:0] if rows is None else rows
        scores, count = refresh(rows)  # other ranks may have samples where this one has none
        if len(rows):
            method.observe_refreshed(after, rows, scores)
        row = replace(row, extra_forwards=row.extra_forwards + count)
    after.settle()
    return after, replace(row, closing_seconds=time.perf_counter() - start)
