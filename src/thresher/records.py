"""What a run has trained so far: a row of numbers for each epoch, sample visits, steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

from thresher.accounting import Row, metrics, rows_from_tensor, rows_to_tensor
from thresher.errors import ThresherWarning
from thresher.parallel.team import Team
from thresher.progress import Progress
from thresher.schedule import Budget

# Rows of a run without a known number of epochs that a checkpoint keeps (its shape must be fixed).
_OPEN_ENDED_ROWS = 1000


@final
class Records:
    """The numbers of the epochs that are closed.

    Args:
        team: the ranks, whose traffic is counted.
        budget: the length of the run.
        accumulation_steps: micro-batches per optimizer step.
        log: called with an epoch's numbers, and the optimizer steps so far, when it closes.

    Attributes:
        rows: one a closed epoch.
        visits: sample visits that were planned in them.
        steps: optimizer steps that were taken in them.
    """

    def __init__(
        self,
        team: Team,
        budget: Budget,
        accumulation_steps: int,
        log: Callable[[dict[str, float], int], None] | None,
    ) -> None:
        self.rows: list[Row] = []
        self.visits = 0
        self.steps = 0
        self._team = team
        self._budget = budget
        self._accumulation_steps = accumulation_steps
        self._log = log
        self._has_warned = False

    def steps_of(self, progress: Progress) -> int:
        """Return the optimizer steps of an epoch so far; its last one may be partly filled."""
        return -(-progress.micro_batches // self._accumulation_steps)

    def close(self, row: Row, progress: Progress, planning_seconds: float) -> None:
        """Take note of an epoch that is over; what is sent from here on is the next one's."""
        self.rows.append(self._counted(row, progress, planning_seconds))
        self._team.start_epoch()
        self.visits += progress.plan.num_planned
        self.steps += self.steps_of(progress)

    def _counted(self, row: Row, progress: Progress, planning_seconds: float) -> Row:
        """An epoch's row with what its planning took and its ranks have sent."""
        sent, gathering = self._team.sent()
        return replace(
            row,
            dropped=progress.dropped(self._team.grid),
            bytes_sent=sent,
            planning_seconds=row.planning_seconds + planning_seconds,
            gathering_seconds=gathering,
        )

    def tell(self, facts: Mapping[str, float]) -> None:
        """Tell the user of the epoch that was closed last, `facts` being its plan's."""
        row = self.rows[-1]
        if row.non_finite and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{row.non_finite} samples of epoch {row.epoch} had a score that is "
                "NaN or infinite; they count as unseen. The report counts them for every epoch.",
                ThresherWarning,
                stacklevel=6,
            )
        if self._log is not None:
            self._log(metrics(row, self._budget.num_samples, facts), self.steps)

    def rows_with(self, current: Progress | None, planning_seconds: float) -> list[Row]:
        """Return all rows, and that of the epoch in progress if it has begun."""
        if current is None or not current.micro_batches:
            return list(self.rows)
        return [*self.rows, self._counted(current.row(), current, planning_seconds)]

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers in fixed shapes."""
        return {
            "visits": self.visits,
            "steps": self.steps,
            "rows": rows_to_tensor(self.rows, self._budget.epochs or _OPEN_ENDED_ROWS),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.visits, self.steps = state["visits"], state["steps"]
        self.rows = rows_from_tensor(state["rows"])
