"""Rows of a kernel, a block of them at a time: what greedy rules look at instead of n × n."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from thresher._arrays import Array

Block = Callable[[Array], Array]
"""Positions (p,), int64, to the kernel between them and every candidate: float32, (p, m)."""

# 2^24 numbers are 64 MiB: the most that kernel rows may take, whatever the number of samples.
_KEPT = 1 << 24
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
        size = max(1, min(num, _KEPT // num))
        self._store = np.empty((size, num), dtype=np.float32)
        self._slot = np.full(num, -1)
        self._holder = np.full(size, -1)
        self._waiting = np.zeros(num, dtype=np.bool_)
        self._num_used = _FIRST // 2

    def row(self, position: int, priority: Array) -> Array:
        """Return the row of `position`, read-only; valid until the next call.

        Args:
            position: whose row.
            priority: shape (m,), larger for rows that will be asked for sooner; -inf for never.
        """
        if self._slot[position] < 0:
            self._load(position, priority)
        if self._waiting[position]:
            self._waiting[position] = False
            self._num_used += 1
        return self._store[self._slot[position]]

    def _load(self, position: int, priority: Array) -> None:
        worth = np.where(self._slot >= 0, -np.inf, priority)
        worth[position] = -np.inf
        others = min(max(1, 2 * self._num_used), len(self._holder)) - 1
        new = np.argpartition(-worth, others)[:others]
        new = np.append(new[worth[new] > -np.inf], position)
        held = np.where(self._holder >= 0, priority[self._holder], -np.inf)
        slots = np.argsort(held, kind="stable")[: len(new)]
        gone = self._holder[slots]
        self._slot[gone[gone >= 0]] = -1
        self._waiting[gone[gone >= 0]] = False
        for some in chunks(len(new), self._store.shape[1]):
            self._store[slots[some]] = self._block(new[some])
        self._slot[new], self._holder[slots] = slots, new
        self._waiting[new] = True
        self._num_used = 0
