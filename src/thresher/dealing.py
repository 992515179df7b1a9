"""A rank's part of an epoch, trained as a plan of its own, and what ranks agree on meanwhile."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from thresher.grid import Grid
from thresher.ledger import Ledger
from thresher.parallel.exchange import Exchange
from thresher.plan import Plan
from thresher.planned import PlannedProgress
from thresher.progress import Progress
from thresher.steps import Place


class RankProgress(Progress):
    """What a rank trains of an epoch: `_inner`, a plan of its own.

    Ranks talk when the first batch of the epoch is scored (a few numbers), and when what all have
    trained is needed: as soon as each has trained its part, or else when somebody asks.

    Args:
        plan: the epoch's plan.
        names: the scores to keep.
        accumulation_steps: micro-batches per optimizer step.
        exchange: to the other ranks.
        grid: how the loader cuts the plan; None below the loop, where ranks score what they want.
    """

    _inner: PlannedProgress

    def __init__(
        self,
        plan: Plan,
        names: tuple[str, ...],
        accumulation_steps: int,
        exchange: Exchange,
        grid: Grid | None,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._names = names
        self._accumulation_steps = accumulation_steps
        self._exchange = exchange
        self._grid = grid
        self._has_agreed = False

    @property
    def plan(self) -> Plan:
        """The epoch's plan."""
        return self._plan

    @property
    def is_behind(self) -> bool:
        """Whether a loop fetched samples that were not scored."""
        self._inner.reach = self.reach
        return self._inner.is_behind

    def ids_ahead(self, stop: int) -> Iterator[int]:
        """Yield the ids that are left for this rank."""
        return self._inner.ids_ahead(stop)

    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return where `ids` lie in this rank's part."""
        return self._inner.locate(ids, expected)

    def is_seen(self, place: Place) -> bool:
        """Return whether the first sample at `place` was scored already."""
        return self._inner.is_seen(place)

    def awaits(self, ids: np.ndarray) -> bool:
        """Return whether all `ids` are of this rank's part, fetched by a loop, and unscored."""
        self._inner.reach = self.reach
        return self._inner.awaits(ids)

    def record(self, place: Place, scores: Mapping[str, Tensor]) -> None:
        """Take one micro-batch's scores.

        Raises:
            RanksDisagreeError: this is the first batch, or the last, and the ranks are not alike.
        """
        if not self._has_agreed:
            # Before anything is trained; and here, because a peek or a length is asked for on one
            # rank alone, while every rank trains its first batch.
            self._exchange.agree("opening an epoch", self._common())
            self._has_agreed = True
        was_complete = self._is_complete
        self._inner.record(place, scores)
        self._follow()
        if self._grid is not None and self._is_complete and not was_complete:
            self._end()

    @property
    def _is_complete(self) -> bool:
        return self._inner.seen >= len(self._inner.plan)

    def _follow(self) -> None:
        inner = self._inner
        self.micro_batches, self.reduced_here = inner.micro_batches, inner.reduced_here
        self.seen = inner.seen

    @abstractmethod
    def _common(self) -> dict[str, int]:
        """What all ranks have in common if they are about to train the same epoch."""

    def _end(self) -> None:
        """Do what has to be done together once every rank has trained all of its part."""
        self.gather()

    def release(self) -> None:
        """Free what only training needs."""
        self._inner.release()

    def remembered(self, ledger: Ledger) -> Ledger:
        """Return the ledger as it was when the epoch was planned."""
        return ledger
