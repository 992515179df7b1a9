"""Facility location, greedily: exactly with lazy bounds, or among random candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from thresher._arrays import Array
from thresher.static.kernel_rows import Block, KernelRows, chunks


@final
@dataclass(frozen=True, kw_only=True)
class Representatives:
    """The positions that were chosen, in order, and how many each of them stands for."""

    order: Array
    sizes: Array


@final
class Coverage:
    """A growing S, and how well it covers: f(S) = Σ_i max_{j in S} s_ij, 0 for the empty set.

    f is monotone and submodular. Memory: 20 bytes a candidate, and what rows of s take.

    Args:
        block: rows of s >= 0, symmetric; nobody is more similar to a sample than the sample itself.
        num: the number of candidates, m.
    """

    def __init__(self, block: Block, num: int) -> None:
        self._block = block
        self._best = np.zeros(num, dtype=np.float32)
        self._nearest = np.full(num, -1)
        self._spare = np.empty(num, dtype=np.float32)

    def gain(self, row: Array) -> float:
        """Return f(S + j) − f(S) for the row of j: Σ_i max(s_ij − max_S s_i, 0)."""
        np.subtract(row, self._best, out=self._spare)
        np.maximum(self._spare, 0.0, out=self._spare)
        return float(self._spare.sum(dtype=np.float64))

    def add(self, position: int, row: Array) -> None:
        """Put a position into S."""
        closer = row > self._best
        # A sample stands for itself, not for an equal one that was chosen before.
        closer[position] = True
        self._nearest[closer] = position
        np.maximum(self._best, row, out=self._best)

    def lazy_greedy(self, count: int) -> Representatives:
        """Choose as plain greedy does, looking again only at who may be the best.

        A gain never grows while S does, so an earlier gain bounds that of now, and a sample whose
        new gain is no less than all bounds is the best. f(S) >= (1 − 1/e) of the best set's.
        """
        num = len(self._best)
        initial = [self._block(some).sum(1, dtype=np.float64) for some in chunks(num, num)]
        bounds, rows = np.concatenate(initial), KernelRows(self._block, num)
        order = np.empty(count, dtype=np.int64)
        for step in range(count):
            looked_at = -1
            while (position := int(bounds.argmax())) != looked_at:
                looked_at = position
                bounds[position] = self.gain(rows.row(position, bounds))
            order[step] = position
            self.add(position, rows.row(position, bounds))
            bounds[position] = -np.inf
        return self._chosen(order)

    def stochastic_greedy(
        self, count: int, epsilon: float, generator: np.random.Generator
    ) -> Representatives:
        """Choose the best of ⌈(m / count)·ln(1/ε)⌉ random candidates at each step.

        In expectation f(S) >= (1 − 1/e − ε) of the best set's, for m·ln(1/ε) looks in all
        (Mirzasoleiman et al., Lazier Than Lazy Greedy, AAAI 2015).
        """
        num = len(self._best)
        size = math.ceil(num / count * math.log(1 / epsilon))
        left, order = np.arange(num), np.empty(count, dtype=np.int64)
        for step in range(count):
            num_left = num - step
            drawn = generator.choice(num_left, min(size, num_left), replace=False, shuffle=False)
            place, row = self._best_of(left, drawn)
            order[step] = left[place]
            self.add(int(left[place]), row)
            left[place] = left[num_left - 1]
        return self._chosen(order)

    def _best_of(self, left: Array, drawn: Array) -> tuple[int, Array]:
        """Return the place in `left` of the largest gain among those drawn, and its row."""
        place, largest, row = -1, -math.inf, self._best
        for some in chunks(len(drawn), len(self._best)):
            rows = self._block(left[drawn[some]])
            gains = np.array([self.gain(each) for each in rows])
            if gains.max() > largest:
                winner = int(gains.argmax())
                place, largest, row = int(drawn[some][winner]), gains[winner], rows[winner]
        return place, row

    def greedy(
        self, count: int, *, exact_up_to: int, epsilon: float, generator: np.random.Generator
    ) -> Representatives:
        """Choose lazily among at most `exact_up_to` candidates, stochastically among more."""
        if len(self._best) <= exact_up_to:
            return self.lazy_greedy(count)
        return self.stochastic_greedy(count, epsilon, generator)

    def _chosen(self, order: Array) -> Representatives:
        sizes = np.bincount(self._nearest, minlength=len(self._nearest))[order]
        return Representatives(order=order, sizes=sizes)
