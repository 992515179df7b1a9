"""Rows of a kernel, a block of them at a time: what greedy rules look at instead of n × n."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from thresher._arrays import Array

Block = Callable[[Array], Array]
"""Positions (p,), int64, to the kernel between them and every candidate: float32, (p, m)."""

# 2^24 numbers are 64 MiB: the most that kernel rows may take, whatever the number of samples.
KEPT = 1 << 24
_BLOCK = 1 << 22
_FIRST = 32


def chunks(num: int, width: int) -> list[Array]:
    """Return `range(num)` in pieces of which a block with `width` columns takes 16 MiB."""
    step = max(1, _BLOCK // max(width, 1))
    return [np.arange(start, min(start + step, num)) for start in range(0, num, step)]


@final
@final
class KernelRows:
    """The rows that a greedy rule asks for, computed before it asks.

    One row costs a pass over all features, and so does a block of fifty. On a miss the rows that
    rank next are computed along: twice as many as were asked for of the last block. What a rule
    sees is the same with any number of them. Memory: 64 MiB, or one row if that is more.

    Args:
        block: computes rows.
        num: the number of candidates, m.
    """

    def __init__(self, block: Block, num: int) -> None:
        self._block = block
        size = max(1, min(num, KEPT // num))
        self._store = np.empty((size, num), dtype=np.float32)
        self._slot = np.full(num, -1)
        self._holder = np.full(size, -1)
        self._waiting = np.zeros(num, dtype=np.bool_)
        self._num_used = _FIRST // 2

    @property
    def limit(self) -> int:
        """The most rows that are kept."""
        return len(self._holder)

    def row(self, position: int, priority: Array) -> Array:
        """Return the row of one position, float32, shape (m,), read-only, until the next call.

        Args:
            position: whose row.
            priority: shape (m,), larger for rows that will be asked for sooner; -inf for never.
        """
        if self._slot[position] < 0:
            others = self._next(position, priority)
            self._load(np.append(others, position), priority)
        if self._waiting[position]:
            self._waiting[position] = False
            self._num_used += 1
        return self._store[self._slot[position]]

    def some(self, positions: Array, priority: Array) -> Array:
        """Return the rows of at most `limit` positions, shape (p, m), and load no others."""
        missing = positions[self._slot[positions] < 0]
        if missing.size:
            kept = priority.copy()
            kept[positions] = np.inf
            self._load(missing, kept)
        return self._store[self._slot[positions]]

    def _next(self, position: int, priority: Array) -> Array:
        """Return who ranks next of those whose row is not there, twice as many as were used."""
        worth = np.where(self._slot >= 0, -np.inf, priority)
        worth[position] = -np.inf
        num = min(max(1, 2 * self._num_used), self.limit) - 1
        self._num_used = 0
        ranked = np.argpartition(-worth, num)[:num]
        return ranked[worth[ranked] > -np.inf]

    def _load(self, new: Array, priority: Array) -> None:
        """Compute rows, in the place of those with the lowest priority."""
        held = np.where(self._holder >= 0, priority[self._holder], -np.inf)
        slots = np.argpartition(held, len(new) - 1)[: len(new)]
        gone = self._holder[slots]
        gone = gone[gone >= 0]
        self._slot[gone], self._waiting[gone] = -1, False
        for part in chunks(len(new), self._store.shape[1]):
            self._store[slots[part]] = self._block(new[part])
        self._slot[new], self._holder[slots], self._waiting[new] = slots, new, True
