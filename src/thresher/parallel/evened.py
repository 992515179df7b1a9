"""The steps of one shard's part of an epoch: as many as every other shard takes."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np
import torch

from thresher.grid import Grid
from thresher.parallel.even_steps import EvenSteps
from thresher.plan import Plan
from thresher.population import Population
from thresher.steps import Place


@final
class Evened:
    """Where the samples that a rank trains lie in its shard's plan, batch by batch.

    A slot is a place in the order of training. Slots of what was trained before a checkpoint was
    loaded come first, then the batches that are left. In a batch of which this rank has nothing,
    one slot has no position: a sample is trained there that counts for nothing.

    Args:
        plan: of this shard.
        grid: how the loader cuts it. With `drop_last`, or without the remainder, full batches only.
        over: all samples, whose plans are cut in the same steps.
        done: positions that were trained already, ascending, int64; None for a new epoch.
        is_cut_anew: whether what is left is cut as an epoch of its own, not in the batches it had.

    Attributes:
        starts: the first slot of each batch that is left, and the end: int64, (T + 1,).
        reals: the samples of all ranks in each of them: int64, (T,).
        usual: the most samples that a batch of a new epoch has on this rank.
        spares: the slots that count for nothing: int64.
    """

    def __init__(
        self,
        plan: Plan,
        grid: Grid,
        over: Population,
        done: np.ndarray | None = None,
        *,
        is_cut_anew: bool = False,
    ) -> None:
        self._plan = plan
        self._world_size = grid.world_size
        done = np.empty(0, dtype=np.int64) if done is None else done
        left = np.arange(len(plan))
        if len(done):
            is_new = np.ones(len(plan), dtype=np.bool_)
            is_new[done] = False
            left = np.flatnonzero(is_new)
        even = EvenSteps(
            sizes=tuple(over.each(len(left))) if is_cut_anew else plan.sizes,
            rank=grid.rank,
            batch_size=grid.batch_size,
            drops_remainder=grid.drop_last or grid.drops_remainder,
        )
        begins = even.begins()
        sizes = np.diff(begins if is_cut_anew else np.searchsorted(left, begins))
        reals = over.added(sizes)
        # A batch that all ranks have trained is none that is left.
        is_left, self.reals = reals > 0, reals[reals > 0]
        sizes = sizes[is_left]
        self.starts = len(done) + np.append(0, np.cumsum(np.maximum(sizes, 1)))
        self.usual = max(1, -(-len(plan) // max(1, even.num_batches)))
        self.spares = self.starts[:-1][sizes == 0]
        # The same sample fills the same step after a resume.
        numbers = np.cumsum(np.diff(begins) == 0)[is_left][sizes == 0] - 1
        self._spare_ids = _spare_ids(plan, np.maximum(numbers, 0))
        self._positions: np.ndarray | None = None
        self._is_real: np.ndarray | None = None
        if len(done) or len(self.spares) or self.starts[-1] != len(plan):
            self._lay(done, left)

    def _lay(self, done: np.ndarray, left: np.ndarray) -> None:
        """Find out what lies in each slot, where that is not just the plan."""
        positions = np.full(self.starts[-1], -1, dtype=np.int64)
        is_real = np.ones(len(positions), dtype=np.bool_)
        is_real[self.spares] = False
        positions[: len(done)] = done
        slots = len(done) + np.flatnonzero(is_real[len(done) :])
        positions[slots] = left[: len(slots)]
        self._positions, self._is_real = positions, is_real

    def part(self) -> Plan:
        """Return what this rank trains, slot by slot, as a plan of its own.

        Its weights are such that the mean of w ℓ over a batch is this rank's part of the mean over
        the global batch: multiplied by m W / R for m of R samples, on one of W ranks.
        """
        plan, sizes = self._plan, np.diff(self.starts)
        ids = self.local(plan.ids.numpy(), 0)
        ids[self.spares] = self._spare_ids
        weights = np.array(self.local(plan.weights.numpy(), 1.0))
        share = sizes * self._world_size / self.reals
        weights[self.starts[0] :] *= np.repeat(share, sizes)
        return replace(plan, ids=torch.from_numpy(ids), weights=torch.from_numpy(weights))

    def local(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Return one value for each slot from one for each position of the plan."""
        if self._positions is None or self._is_real is None:
            return values
        found = np.full(len(self._positions), fill, dtype=values.dtype)
        found[self._is_real] = values[self._positions[self._is_real]]
        return found

    def merged(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Return one value for each position of the plan from one for each slot."""
        if self._positions is None or self._is_real is None:
            return values
        found = np.full(len(self._plan), fill, dtype=values.dtype)
        found[self._positions[self._is_real]] = values[self._is_real]
        return found

    def real(self, place: Place) -> np.ndarray | None:
        """Return whether each sample of a batch counts, bool (m,); None if all of them do."""
        if self._is_real is None or not len(self.spares):
            return None
        real = self._is_real[place]
        return None if real.all() else real


def _spare_ids(plan: Plan, numbers: np.ndarray) -> np.ndarray:
    """Return ids for slots that count for nothing, by number: unplanned samples of this shard.

    A shard may have one too few, if it has a sample less than others; then the first of all.
    """
    if not len(numbers):
        return np.empty(0, dtype=np.int64)
    is_spare = np.ones(plan.shard.num_rows(plan.num_samples), dtype=np.bool_)
    is_spare[plan.rows.numpy()] = False
    found = plan.shard.ids(np.flatnonzero(is_spare)[: int(numbers.max()) + 1])
    return np.append(found, 0)[numbers]
