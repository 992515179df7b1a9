"""A plan while several ranks train it, each its own part of every global batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row, num_non_finite, row_of
from thresher.dealing import RankProgress
from thresher.grid import Grid
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.parallel.exchange import Exchange
from thresher.parallel.layout import Layout, Padding
from thresher.parallel.merging import merged, merged_scattered
from thresher.pending import laid_out, saved
from thresher.plan import Plan, Trace
from thresher.planned import PlannedFeed, PlannedProgress
from thresher.steps import Place


@final
class DealtProgress(RankProgress):
    """This rank's part of a plan that all ranks have, and the way to the whole trace.

    Below the loop each rank may score what it wants: where two have scored one sample the later
    step counts, then the higher rank.

    Args:
        plan: the epoch's plan, the same on all ranks.
        names, accumulation_steps, exchange, grid: as of `RankProgress`.
    """

    def __init__(
        self,
        plan: Plan,
        names: tuple[str, ...],
        accumulation_steps: int,
        exchange: Exchange,
        grid: Grid | None,
    ) -> None:
        super().__init__(plan, names, accumulation_steps, exchange, grid)
        self._seen_before = 0  # on all ranks, when a checkpoint was loaded
        self._whole: Trace | None = None
        self._whole_at = 0
        self._checksum: int | None = None
        self._lay(None)

    def _lay(self, done: np.ndarray | None) -> None:
        plan, grid = self._plan, self._grid
        self._layout = None if grid is None else Layout(len(plan), grid, done)
        self._padding = None if self._layout is None else self._layout.padding()
        part = plan if self._layout is None else _part_of(plan, self._layout)
        self._inner = PlannedProgress(part, self._names, self._accumulation_steps)

    def stop(self, grid: Grid, most: int | None = None) -> int:
        """Return how many positions a pass of this rank trains in at most so many batches."""
        stop = len(self._inner.plan)
        return stop if most is None else min(stop, most * grid.batch_size)

    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> PlannedFeed:
        """Return the batches of this rank that are left."""
        return self._inner.feed(batch_size, stop, judge)

    def _follow(self) -> None:
        super()._follow()
        if self._layout is None:
            # Positions are of the whole plan then; the others are as far as this rank.
            here = self.seen - self._seen_before
            self.seen = min(
                self._seen_before + here * self._exchange.ranks.world_size, len(self._plan)
            )

    def checksum(self) -> int:
        """Return that of the plan, which is the same on all ranks."""
        if self._checksum is None:
            self._checksum = self._plan.checksum()
        return self._checksum

    def _common(self) -> dict[str, int]:
        return {
            "epoch": self._plan.epoch,
            "plan": self.checksum(),
            "batch size": 0 if self._grid is None else self._grid.batch_size,
            "samples of a rank": len(self._inner.plan),
            "accumulation steps": self._accumulation_steps,
        }

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return this rank's part of the mean over the global batch: that of the ranks' is it.

        Copies that only pad are left out, and the divisor is R / W for R samples and W ranks.
        """
        padding = self._padding
        real = None if padding is None else padding.is_real(place)
        if padding is None or real is None:
            return self._inner.weighted_mean(place, losses)
        weights = self._inner.plan.weights[place].to(losses.device)
        return padding.mean(losses * weights, real, self._share(padding, place, real))

    def _share(self, padding: Padding, place: Place, real: np.ndarray) -> float:
        is_last = isinstance(place, slice) and place.start >= padding.start
        return padding.share if is_last else max(1, np.count_nonzero(real)) / len(real)

    def counted(self, place: Place) -> tuple[np.ndarray | None, float]:
        """Return which samples of a batch are no copies, and what `weighted_mean` divides by."""
        padding = self._padding
        real = None if padding is None else padding.is_real(place)
        if padding is None or real is None:
            return super().counted(place)
        return real, len(real) * self._share(padding, place, real)

    def gather(self) -> None:
        """Get the scores of all ranks, unless there are no new ones; every rank has to call it.

        Raises:
            RanksDisagreeError: the ranks are not alike, or have not taken equal steps.
        """
        if self._whole is not None and self._whole_at == self.micro_batches:
            return
        same = {**self._common(), "batches trained": self.micro_batches}
        trace, told = self._inner.trace(), {"skipped": self.skipped}
        if self._layout is None:
            self._whole, of_ranks = merged_scattered(self._exchange, trace, same, told)
        else:
            steps = (self._layout, self._inner.seen, self._accumulation_steps)
            self._whole, of_ranks = merged(self._exchange, trace, same, told, *steps)
        self._whole_at = self.micro_batches
        self.skipped = int(of_ranks["skipped"].max())

    def _gathered(self) -> Trace | None:
        """The scores of all ranks, if all there are were gathered."""
        return self._whole if self._whole_at == self.micro_batches else None

    @property
    def is_whole(self) -> bool:
        """Whether this rank knows all that was trained of the epoch."""
        return self.micro_batches == 0 or self._gathered() is not None

    def row(self) -> Row:
        """Return the epoch's numbers so far: if not gathered yet, as if all were as far as this."""
        known = self._gathered()
        if known is not None:
            return row_of(self._plan, known, skipped_batches=self.skipped)
        covered = self.seen if self._layout is None else self._layout.covered(self.seen)
        return replace(
            row_of(self._plan, None, skipped_batches=self.skipped),
            trained=covered,
            non_finite=num_non_finite(self._inner.trace()),
        )

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the method observe the whole trace into `ledger`; return the epoch's numbers."""
        self.gather()
        assert self._whole is not None
        method.observe(ledger, self._plan, self._whole)
        return row_of(self._plan, self._whole, skipped_batches=self.skipped)

    def state_dict(self) -> dict[str, object]:
        """Return the scores so far by sample id: of all ranks, if they were gathered."""
        known, world = self._gathered(), self._exchange.ranks.world_size
        state = self._inner.state_dict()
        state["skipped"] = self.skipped
        state["share_size"] = self._inner.share_size * world
        return state if known is None else {**state, **saved(self._plan, known)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the scores of an epoch that was interrupted, on any number of ranks."""
        self._whole = laid_out(self._plan, state, self._names)
        self._lay(np.flatnonzero(self._whole.seen.numpy()))
        share_size, skipped = state["share_size"], state["skipped"]
        assert isinstance(share_size, int)
        assert isinstance(skipped, int)
        each, left = divmod(share_size, self._exchange.ranks.world_size)
        self._inner.load_state_dict({**state, "share_size": 0 if left else each})
        self._seen_before = self._inner.seen
        self._follow()
        self.skipped, self._whole_at, self._has_agreed = skipped, self.micro_batches, False


def _part_of(plan: Plan, layout: Layout) -> Plan:
    weights = plan.weights
    if weights.stride(0) == 0:  # one weight for all, which takes no memory
        weights = weights[:1].expand(layout.num_local)
    else:
        weights = torch.from_numpy(layout.local(weights.numpy()))
    return replace(plan, ids=torch.from_numpy(layout.local(plan.ids.numpy())), weights=weights)
