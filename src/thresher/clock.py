"""The epoch clock: which plan is in progress, which comes next, and when one closes.

Only training moves it. Epoch e closes when the first batch of e + 1 is reduced, or, below the loop,
when plan e + 1 is asked for; until then the plan of e + 1 is provisional.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

from thresher.accounting import Row, metrics, rows_from_tensor, rows_to_tensor
from thresher.closing import (
    Coming,
    Refresh,
    close,
    refuse_stale,
    refuse_underivable,
    warn_of_broken,
    warn_of_silence,
)
from thresher.epochs import Epochs, adapted
from thresher.errors import EpochError
from thresher.grid import Grid
from thresher.outline import Outline
from thresher.parallel.team import Team
from thresher.plan import Plan
from thresher.progress import Progress
from thresher.replacement import Replacement, replacement_from, state_of
from thresher.schedule import Budget
from thresher.settings import Data

# Rows of a run without a known number of epochs that a checkpoint keeps (its shape must be fixed).
_OPEN_ENDED_ROWS = 1000


@final
class Clock:
    """Owns the ledger, the epoch in progress and, on request, the coming one.

    Args:
        epochs: how each epoch begins.
        budget: the length of the run.
        accumulation_steps: micro-batches per optimizer step.
        steps: optimizer steps of a run that is measured in them.
        log: called with an epoch's numbers, and the optimizer steps so far, when it closes.
        opened: called with each plan when its first batch is trained.
        about: what the runs of several ranks must have in common.

    Attributes:
        team: the ranks that the run is dealt out to.
        refresh: scores samples anew for a method that wants it; None where no pass can be made.
        certain: the epoch in progress, while every batch to come is of it; None: it may not be.
    """

    def __init__(
        self,
        epochs: Epochs,
        budget: Budget,
        *,
        accumulation_steps: int = 1,
        steps: int | None = None,
        log: Callable[[dict[str, float], int], None] | None = None,
        opened: Callable[[Plan | Outline], None] | None = None,
        about: Mapping[str, int | str] | None = None,
    ) -> None:
        self.team = Team(about or {})
        self.epochs = epochs
        self.budget = budget
        self.accumulation_steps = accumulation_steps
        self.steps = steps
        self.epoch = 0
        self.refresh: Refresh | None = None
        self._log = log
        self._opened = opened
        self.rows: list[Row] = []
        self._visits = 0
        self._steps_closed = 0
        self.ledger = epochs.new_ledger(budget.num_samples)
        self._replacement: Replacement | None = None
        self._current: Progress | None = None
        self.certain: Progress | None = None
        self._coming: Coming | None = None
        self._pending: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None
        self._planning_seconds = 0.0
        self._has_warned = False

    @property
    def current(self) -> Progress:
        """The epoch in progress; its plan is made when it is first looked at."""
        if self._current is None:
            if self.team.ranks is None:
                self.join(None)
            start = time.perf_counter()
            current = self.epochs.begin(
                self.ledger, self.budget, epoch=self.epoch, visits=self._visits
            )
            self._planning_seconds = time.perf_counter() - start
            if self._pending is not None:
                self._resume(current, self._pending)
            self._loaded = self._pending
            self._current, self._pending = current, None
        return self._current

    def join(self, grid: Grid | None) -> None:
        """Train this rank's part of each epoch from now on, as its loader cuts it if it has one.

        Raises:
            SettingError, CheckpointError: the epoch was begun with other batches.
        """
        current = self._current
        is_begun = current is not None and current.reduced_here > 0
        if self.team.join(grid, is_begun=is_begun) and self.team.exchange is not None:
            self.epochs = self.epochs.dealt(self.team.exchange, grid)
            # Plans are dealt out anew, and what was loaded is put into them again.
            self._pending = self._pending or self._loaded
            self._current = self.certain = self._coming = None
        elif self._loaded is not None and current is not None:
            self._require_same_batches(current)

    @property
    def steps_done(self) -> int:
        """Optimizer steps trained in the whole run; an epoch's last one may be partly filled."""
        return self._steps_closed + self._steps_of(self.current)

    def _steps_of(self, progress: Progress) -> int:
        return -(-progress.micro_batches // self.accumulation_steps)

    def batches_left(self, progress: Progress) -> int | None:
        """Return how many batches of `progress` the budget of steps allows; None without one."""
        if self.steps is None:
            return None
        before = self._steps_closed if progress is self._current else self.steps_done
        return max(0, self.steps - before) * self.accumulation_steps

    @property
    def provisional(self) -> Progress | None:
        """The next epoch if somebody has asked for it since the last batch was scored."""
        return None if self._coming is None else self._coming.progress

    def coming(self) -> Progress:
        """Return the next epoch, provisional: made once from the trace so far."""
        current = self.current
        if self._coming is None or self._coming.micro_batches != current.micro_batches:
            self._coming = self._make_coming(current)
        self.certain = None
        return self._coming.progress

    def next(self, stop: int) -> Progress:
        """Return what a new pass trains: the rest of a loaded epoch, a new one, or the coming one.

        `stop` is how many of the current plan's positions the loader trains.
        """
        current = self.current
        if current.reduced_here or current.seen >= stop:
            return self.coming()
        return current

    def open(self, epoch: int) -> Progress:
        """Return the current epoch, or close it and return the next, for loops below the loader.

        Raises:
            EpochError: `epoch` is neither.
        """
        if epoch == self.epoch + 1:
            coming = self.coming()
            if not self.current.micro_batches:
                warn_of_silence(self.epoch, stacklevel=4)
            self.admit(coming)
        elif epoch != self.epoch:
            raise EpochError(
                f"plan({epoch})",
                f"{self.epoch}, in progress, or {self.epoch + 1}, the next",
                "Earlier plans are gone, and later ones depend on scores to come",
            )
        return self.current

    def admit(self, progress: Progress) -> None:
        """Let a batch of `progress` be trained: closes the epoch before it, or drops the one after.

        Raises:
            StaleBatchError: `progress` was dropped, or its epoch is closed.
        """
        if progress is self.certain:
            return
        self.team.begin_training()
        if progress is self._current:
            self.certain, self._coming, self._loaded = progress, None, None
            return
        coming = self._coming
        if coming is None or progress is not coming.progress:
            refuse_stale(progress, self.epoch)
        self._close(coming)

    def _close(self, coming: Coming) -> None:
        assert self._current is not None
        facts = self._current.plan.facts
        # A pass may have come to its end, and counted what it skipped, after the plan was made.
        row = replace(coming.row, skipped_batches=self._current.skipped)
        row = self._counted(row, self._current)
        self.team.start_epoch()
        self.rows.append(row)
        self._visits += len(self._current.plan)
        self._steps_closed += self._steps_of(self._current)
        self.ledger, self._current = coming.ledger, coming.progress
        self.certain, self._loaded = coming.progress, None
        self._planning_seconds = coming.planning_seconds
        self._coming = self._replacement = None
        self.epoch += 1
        if self._opened is not None:
            self._opened(self._current.plan)
        if row.non_finite and not self._has_warned:
            self._has_warned = True
            warn_of_broken(row, stacklevel=5)
        if self._log is not None:
            self._log(metrics(row, self.budget.num_samples, facts), self._steps_closed)

    def all_rows(self) -> list[Row]:
        """Return the rows of all closed epochs, and of the one in progress if it has begun."""
        current = self._current if self._pending is None else self.current
        if current is None or not current.micro_batches:
            return [*self.rows]
        return [*self.rows, self._counted(current.row(), current)]

    def replace_subset(self, replacement: Replacement) -> None:
        """Put a subset in force from the next epoch that is not begun yet."""
        if not self.current.micro_batches:
            replacement.put_into(self.ledger)
            self._current = self.certain = self._coming = None
        else:
            self._replacement, self._coming = replacement, None

    def require_same(self, data: Data, *, is_wrapped: bool = False) -> None:
        """Refuse another data set length, or another order once a loader or a plan has one."""
        is_fixed = is_wrapped or self._current is not None
        self.epochs = adapted(self.epochs, data, self.budget.num_samples, is_fixed=is_fixed)

    def _make_coming(self, current: Progress) -> Coming:
        ledger, row = close(current, self.ledger, self.epochs.method, self.refresh)
        if self._replacement is not None:
            self._replacement.put_into(ledger)
        start = time.perf_counter()
        visits = self._visits + len(current.plan)
        progress = self.epochs.begin(ledger, self.budget, epoch=self.epoch + 1, visits=visits)
        seconds = time.perf_counter() - start
        return Coming(progress, ledger, row, seconds, current.micro_batches)

    def _counted(self, row: Row, progress: Progress) -> Row:
        sent, gathering = self.team.sent()
        return replace(
            row,
            dropped=self.team.dropped(len(progress.plan)),
            bytes_sent=sent,
            planning_seconds=row.planning_seconds + self._planning_seconds,
            gathering_seconds=gathering,
        )

    def state_dict(self, *, gather: bool = False) -> dict[str, Any]:
        """Return the ledger at the epoch's start and the epoch's scores so far; closes nothing."""
        if gather:
            self.current.gather()
        return {
            "ranks": self.team.state_dict(is_whole=self.current.is_whole),
            "epoch": self.epoch,
            "visits": self._visits,
            "steps": self._steps_closed,
            "ledger": self.current.remembered(self.ledger).state_dict(),
            "progress": self.current.state_dict(),
            "plan_checksum": self.current.plan.checksum(),
            "replacement": state_of(self._replacement, self.epochs.method, self.budget.num_samples),
            "rows": rows_to_tensor(self.rows, self.budget.epochs or _OPEN_ENDED_ROWS),
        }

    def load_state_dict(self, state: dict[str, Any], *, resplit: bool = False) -> None:
        """Restore the clock; the plan in progress is derived again when it is next looked at."""
        self.epoch = state["epoch"]
        self._visits = state["visits"]
        self._steps_closed = state["steps"]
        self.ledger.load_state_dict(state["ledger"])
        self.rows = rows_from_tensor(state["rows"])
        self._pending = {"progress": state["progress"], "checksum": state["plan_checksum"]}
        self._replacement = replacement_from(state["replacement"])
        self.team.load_state_dict(state["ranks"], resplit=resplit)
        self._current = self.certain = self._coming = self._loaded = None

    def _resume(self, progress: Progress, pending: dict[str, Any]) -> None:
        progress.load_state_dict(pending["progress"])
        if progress.plan.checksum() != pending["checksum"]:
            refuse_underivable(self.epoch)
        self._require_same_batches(progress)

    def _require_same_batches(self, progress: Progress) -> None:
        grid = self.team.grid
        if grid is not None and 0 < progress.seen < progress.stop(grid):
            self.team.require_same_batches(grid)
