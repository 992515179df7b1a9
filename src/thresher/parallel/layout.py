"""Which part of a plan each rank trains, and how their parts make the whole again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from thresher.grid import Grid
from thresher.steps import Place


class _Stretch(NamedTuple):
    """Consecutive places of the order that are dealt out alike.

    Args:
        start: the first of them.
        stop: one more than the last.
        offset: where each rank's part of them begins.
        grid: how they are cut.
    """

    start: int
    stop: int
    offset: int
    grid: Grid

    @property
    def whole(self) -> int:
        """How many of them are in full global batches."""
        size = self.stop - self.start
        return size - size % self.grid.global_size

    @property
    def tail(self) -> int:
        return self.grid.tail(self.stop - self.start)

    @property
    def each(self) -> int:
        """How long each rank's part of the last, smaller global batch is."""
        return -(-self.tail // self.grid.world_size)

    @property
    def local_stop(self) -> int:
        return self.offset + self.grid.stop(self.stop - self.start)


@final
class Layout:
    """The positions of a plan that each rank trains, in order: block r of every global batch.

    The last global batch, if it is smaller, is padded by repeating its own samples where the grid
    says so. What was trained before a checkpoint was loaded is dealt out as it comes, and what is
    left is cut anew: with global batches of the same size those are the same batches.

    Args:
        size: S, the samples of the plan.
        grid: how they are cut, and which rank this is.
        done: positions that were trained already, ascending, int64; None for a new epoch.

    Attributes:
        num_local: positions of each rank, padding included.

    Example:
        >>> grids = [Grid(batch_size=2, rank=rank, world_size=2) for rank in range(2)]
        >>> parts = [Layout(5, grid).local(np.arange(5)) for grid in grids]
        >>> [part.tolist() for part in parts], Layout(5, grids[0]).merged(np.stack(parts), -1)
        ([[0, 1, 4], [2, 3, 4]], array([0, 1, 2, 3, 4]))
    """

    def __init__(self, size: int, grid: Grid, done: np.ndarray | None = None) -> None:
        self._size = size
        self._grid = grid
        self._order: np.ndarray | None = None
        count = 0 if done is None else len(done)
        if done is None or not count or _is_as_planned(done, size, grid):
            self._stretches = [_Stretch(0, size, 0, grid)]
        else:
            everyone = np.ones(size, dtype=np.bool_)
            everyone[done] = False
            self._order = np.concatenate([done, np.flatnonzero(everyone)])
            padded = Grid(batch_size=grid.batch_size, rank=grid.rank, world_size=grid.world_size)
            past = _Stretch(0, count, 0, padded)
            self._stretches = [past, _Stretch(count, size, past.local_stop, grid)]
        self.num_local = self._stretches[-1].local_stop

    def local(self, values: np.ndarray) -> np.ndarray:
        """Return this rank's part of one value for each position of the plan, (S,)."""
        ordered = values if self._order is None else values[self._order]
        return np.concatenate(list(self._parts(ordered)))

    def _parts(self, ordered: np.ndarray) -> Iterator[np.ndarray]:
        for stretch in self._stretches:
            rank, (batch, world) = self._grid.rank, (self._grid.batch_size, self._grid.world_size)
            start, tail, each = stretch.start + stretch.whole, stretch.tail, stretch.each
            whole = ordered[stretch.start : start]
            yield whole.reshape(-1, world, batch)[:, rank].reshape(-1)
            if tail:
                slots = np.arange(rank * each, (rank + 1) * each)
                yield ordered[start + slots % tail]

    def merged(self, parts: np.ndarray, fill: float) -> np.ndarray:
        """Return one value for each position of the plan, (S,), from every rank's part, (W, x).

        Args:
            parts: what `local` gives on each rank, in the order of the ranks.
            fill: of positions that no rank trains.
        """
        batch, world = self._grid.batch_size, self._grid.world_size
        ordered = np.full(self._size, fill, dtype=parts.dtype)
        for stretch in self._stretches:
            start, edge = stretch.start + stretch.whole, stretch.offset + stretch.whole // world
            whole = parts[:, stretch.offset : edge].reshape(world, -1, batch)
            np.copyto(
                ordered[stretch.start : start].reshape(-1, world, batch), whole.swapaxes(0, 1)
            )
            last = parts[:, edge : stretch.local_stop].reshape(-1)
            ordered[start : start + stretch.tail] = last[: stretch.tail]
        if self._order is None:
            return ordered
        planned = np.empty_like(ordered)
        planned[self._order] = ordered
        return planned

    def covered(self, seen: int) -> int:
        """Return how many of the plan's samples are trained when each rank has trained `seen`."""
        return sum(self._covered_of(stretch, seen) for stretch in self._stretches)

    def _covered_of(self, stretch: _Stretch, seen: int) -> int:
        inside = min(max(seen - stretch.offset, 0), stretch.local_stop - stretch.offset)
        is_all = inside == stretch.local_stop - stretch.offset
        return stretch.whole + stretch.tail if is_all else inside * self._grid.world_size

    def padding(self) -> Padding | None:
        """Return what is special about the last batch of this rank, if any rank's is padded."""
        last = self._stretches[-1]
        slots = last.each * self._grid.world_size
        if last.tail == slots:
            return None
        real = min(max(last.tail - self._grid.rank * last.each, 0), last.each)
        start = last.local_stop - last.each
        return Padding(start, start + real, last.tail / slots)

    def steps(self, seen: int, accumulation_steps: int) -> np.ndarray:
        """Return the optimizer step of each local position after `seen` in order, int32, (x,)."""
        steps = np.arange(self.num_local, dtype=np.int32)
        steps //= self._grid.batch_size * accumulation_steps
        steps[seen:] = -1
        return steps


@final
class Padding(NamedTuple):
    """The last batch of a rank, in local positions.

    Args:
        start: its first position.
        real: the first of its positions that repeats a sample.
        share: R / (W m), real samples among the places of the global batch, W ranks of m.
    """

    start: int
    real: int
    share: float

    def is_real(self, place: Place) -> np.ndarray | None:
        """Return whether each sample of a batch is no copy, bool (m,); None if it is not the last.

        A batch that a loop put together by ids may hold some samples of the last.
        """
        if isinstance(place, slice):
            return (
                None if place.stop <= self.start else np.arange(place.start, place.stop) < self.real
            )
        return None if (place < self.start).all() else place < self.real

    def mean(self, weighted: Tensor, real: np.ndarray, share: float | None = None) -> Tensor:
        """Return this rank's part of the mean of a padded global batch: the sum over R / W.

        Args:
            weighted: w ℓ of each sample, shape (m,).
            real: which of them are no copies, bool, (m,).
            share: of the places of the global batch that are real; None: of the last one.
        """
        # Multiplied by zero, a copy's loss that is infinite would be NaN.
        kept = torch.from_numpy(real).to(weighted.device)
        divisor = len(real) * (self.share if share is None else share)
        return torch.where(kept, weighted, 0).sum() / divisor


def _is_as_planned(done: np.ndarray, size: int, grid: Grid) -> bool:
    """Whether exactly the first global batches of the plan were trained, or all of them."""
    count = len(done)
    is_whole = count % grid.global_size == 0 or count == grid.covered(size)
    return is_whole and int(done[-1]) == count - 1
