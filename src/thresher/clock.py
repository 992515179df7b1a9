"""The epoch clock: which plan is in progress, which comes next, and when one closes.

Only training moves it. Epoch e closes when the first batch of e + 1 is reduced, or, below the loop,
when plan e + 1 is asked for; until then the plan of e + 1 is provisional.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

from thresher.accounting import Row
from thresher.closing import (
    Coming,
    Refresh,
    close,
    refuse_epoch,
    refuse_stale,
    resume,
    warn_of_silence,
)
from thresher.epochs import Epochs, adapted
from thresher.grid import Grid
from thresher.keys import Keys
from thresher.ledger import Ledger
from thresher.outline import Outline, known
from thresher.parallel.team import Team
from thresher.pending import plan_of
from thresher.plan import Plan
from thresher.progress import Progress
from thresher.records import Records
from thresher.replacement import Replacement, replacement_from, state_of
from thresher.schedule import Budget
from thresher.settings import Data
from thresher.whole import part_of, united


@final
class Clock:
    """Owns the ledger, the epoch in progress and, on request, the coming one.

    Args:
        epochs: how each epoch begins.
        budget: the length of the run.
        team: the ranks that the run is dealt out to.
        accumulation_steps: micro-batches per optimizer step.
        steps: optimizer steps of a run that is measured in them.
        log: called with an epoch's numbers, and the optimizer steps so far, when it closes.
        opened: called with each plan when its first batch is trained.

    Attributes:
        records: what closed epochs have trained.
        refresh: scores samples anew for a method that wants it; None where no pass can be made.
        keys: rows of samples that a stream names by strings.
        certain: the epoch in progress, while every batch to come is of it; None: it may not be.
    """

    def __init__(
        self,
        epochs: Epochs,
        budget: Budget,
        team: Team,
        *,
        accumulation_steps: int = 1,
        steps: int | None = None,
        log: Callable[[dict[str, float], int], None] | None = None,
        opened: Callable[[Plan | Outline], None] | None = None,
    ) -> None:
        self.team = team
        self.records = Records(team, budget, accumulation_steps, log)
        self.epochs = epochs
        self.budget = budget
        self.accumulation_steps = accumulation_steps
        self.steps = steps
        self.epoch = 0
        self.refresh: Refresh | None = None
        self.keys = Keys()
        self._opened = opened
        self._ledger: Ledger | None = None
        self._replacement: Replacement | None = None
        self._current: Progress | None = None
        self.certain: Progress | None = None
        self._coming: Coming | None = None
        self._pending: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None
        self._given: Mapping[str, Any] | None = None  # the plan, if other shards made it
        self._planning_seconds = 0.0

    @property
    def ledger(self) -> Ledger:
        """What the method remembered when the epoch in progress was planned."""
        if self._ledger is None:
            if self.team.ranks is None:
                self.join(None)
            self._ledger = self.epochs.new_ledger(self.budget.num_samples)
        return self._ledger

    @property
    def current(self) -> Progress:
        """The epoch in progress; its plan is made when it is first looked at."""
        if self._current is None:
            ledger, pending, start = self.ledger, self._pending, time.perf_counter()
            told = {"epoch": self.epoch, "visits": self.records.visits}
            current = self.epochs.begin(ledger, self.budget, given=self._given, **told)
            self._planning_seconds = time.perf_counter() - start
            if pending is not None:
                resume(current, pending, is_of_others=self.team.is_of_others)
                self._require_same_batches(current)
            self._loaded = pending
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
            self.epochs = self.epochs.dealt(self.team)
            # Plans are dealt out anew, and what was loaded is put into them again.
            self._pending = self._pending or self._loaded
            self._current = self.certain = self._coming = None
        elif self._loaded is not None and current is not None:
            self._require_same_batches(current)

    @property
    def steps_done(self) -> int:
        """Optimizer steps trained in the whole run; an epoch's last one may be partly filled."""
        return self.records.steps + self.records.steps_of(self.current)

    @property
    def is_last(self) -> bool:
        """Whether the epoch in progress is the run's last, or all its steps are taken."""
        if self.steps is not None:
            return self.steps_done >= self.steps
        return self.budget.epochs is not None and self.epoch + 1 >= self.budget.epochs

    def batches_left(self, progress: Progress) -> int | None:
        """Return how many batches of `progress` the budget of steps allows; None without one."""
        if self.steps is None:
            return None
        before = self.records.steps if progress is self._current else self.steps_done
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

    def settle(self) -> None:
        """Make plans that ranks can only make together: now all of them are here."""
        if self.team.has_shards and self.team.grid is not None and self.current.is_over:
            self.look_ahead()

    def look_ahead(self) -> None:
        """Plan the next epoch, if there is one and nobody has to be scored anew for it."""
        if self.refresh is None and not self.is_last:
            self.coming()

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
            if not self.current.micro_batches and len(self.current.plan):
                warn_of_silence(self.epoch, stacklevel=4)
            self.admit(coming)
        elif epoch != self.epoch:
            refuse_epoch(epoch, self.epoch)
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
        self.records.close(row, self._current, self._planning_seconds)
        self._ledger, self._current = coming.ledger, coming.progress
        self.certain, self._loaded = coming.progress, None
        self._planning_seconds = coming.planning_seconds
        self._coming = self._replacement = self._given = None
        self.epoch += 1
        if self._opened is not None:
            self._opened(self._current.plan)
        self.records.tell(facts)

    def all_rows(self) -> list[Row]:
        """Return the rows of all closed epochs, and of the one in progress if it has begun."""
        current = self._current if self._pending is None else self.current
        return self.records.rows_with(current, self._planning_seconds)

    def replace_subset(self, replacement: Replacement) -> None:
        """Put a subset in force from the next epoch that is not begun yet."""
        if not self.current.micro_batches:
            replacement.put_into(self.ledger)
            self._current = self.certain = self._coming = self._given = None
        else:
            self._replacement, self._coming = replacement, None
        self.settle()

    def require_same(self, data: Data, *, is_wrapped: bool = False) -> None:
        """Refuse another data set length, or another order once a loader or a plan has one."""
        is_fixed = is_wrapped or self._current is not None
        self.epochs = adapted(self.epochs, data, self.budget.num_samples, is_fixed=is_fixed)

    def _make_coming(self, current: Progress) -> Coming:
        ledger, row = close(current, self.ledger, self.epochs.method, self.refresh)
        if self._replacement is not None:
            self._replacement.put_into(ledger)
        start = time.perf_counter()
        visits = self.records.visits + current.plan.num_planned
        progress = self.epochs.begin(ledger, self.budget, epoch=self.epoch + 1, visits=visits)
        seconds = time.perf_counter() - start
        return Coming(progress, ledger, row, seconds, current.micro_batches)

    def state_dict(self, *, gather: bool = False) -> dict[str, Any]:
        """Return the ledger at the epoch's start and the epoch's scores so far; closes nothing."""
        current, exchange = self.current, self.team.exchange
        if gather:
            current.gather()
        state = {
            "ranks": self.team.state_dict(is_whole=current.is_whole),
            "epoch": self.epoch,
            "ledger": current.remembered(self.ledger).state_dict(),
            "progress": current.state_dict(),
            "planned": plan_of(known(current.plan, self.epochs.method)) if self._given else {},
            "plan_checksum": current.checksum(),
            "replacement": state_of(self._replacement, self.epochs.method, self.budget.num_samples),
            **self.records.state_dict(),
            **self.keys.state_dict(),
        }
        if gather and self.team.has_shards and exchange is not None:
            return united(state, known(current.plan, self.epochs.method), exchange)
        return state

    def load_state_dict(self, state: dict[str, Any], *, resplit: bool = False) -> None:
        """Restore the clock; the plan in progress is derived again when it is next looked at."""
        ledger = self.ledger
        state = part_of(state, self.team.population.shard, self.budget.num_samples)
        self.epoch = state["epoch"]
        self.records.load_state_dict(state)
        self.keys.load_state_dict(state)
        ledger.load_state_dict(state["ledger"])
        self._pending = {"progress": state["progress"], "checksum": state["plan_checksum"]}
        self._given = state.get("planned") or None
        self._replacement = replacement_from(state["replacement"])
        self.team.load_state_dict(state["ranks"], resplit=resplit)
        self._current = self.certain = self._coming = self._loaded = None
        self.settle()

    def _require_same_batches(self, progress: Progress) -> None:
        grid = self.team.grid
        if grid is not None and 0 < progress.seen < progress.stop(grid):
            self.team.require_same_batches(grid)
