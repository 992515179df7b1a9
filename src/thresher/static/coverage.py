"""Facility location, greedily: exactly with lazy bounds, or among random candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from thresher._arrays import Array
from thresher.static.kernel_rows import KEPT, Block, KernelRows, chunks

_SINGLE_LOOKS = 8
_LOOKS = 64


@final
@dataclass(frozen=True, kw_only=True)
class Representatives:
    """The positions that were chosen, in order, and how many each of them stands for."""

    order: Array
    sizes: Array


@final
class Coverage:
    """A growing S, and how well it covers: f(S) = Σ_i max_{j in S} s_ij, 0 for the empty set.

    f is monotone and submodular. Memory: 12 bytes a candidate, and what rows of s take.

    Args:
        block: rows of s >= 0, symmetric; nobody is more similar to a sample than the sample itself.
        num: the number of candidates, m.
    """

    def __init__(self, block: Block, num: int) -> None:
        self._block = block
        self._best = np.zeros(num, dtype=np.float32)
        self._nearest = np.full(num, -1)

    def gains(self, rows: Array) -> Array:
        """Return f(S + j) − f(S) of the rows of some j: Σ_i max(s_ij − max_S s_i, 0)."""
        more = rows - self._best
        return np.maximum(more, 0.0, out=more).sum(axis=-1)

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
        looked_at, most = np.full(num, -1), min(_LOOKS, rows.limit)
        for step in range(count):
            looks = 0
            while looked_at[position := int(bounds.argmax())] < step:
                # One by one as long as that may be enough, then many at once.
                if looks < _SINGLE_LOOKS:
                    some, row = np.array([position]), rows.row(position, bounds)
                else:
                    ranked = np.argpartition(-bounds, most - 1)[: most - 1]
                    some = np.union1d([position], ranked[looked_at[ranked] < step])
                    row = rows.some(some, bounds)
                bounds[some], looked_at[some] = self.gains(row), step
                looks += 1
            order[step] = position
            self.add(position, rows.row(position, bounds))
            bounds[position], looked_at[position] = -np.inf, count
        return self._chosen(order)

    def stochastic_greedy(
        self, count: int, epsilon: float, generator: np.random.Generator
    ) -> Representatives:
        """Choose the best of ⌈(m / count)·ln(1/ε)⌉ random candidates at each step.

        In expectation f(S) >= (1 − 1/e − ε) of the best set's, for m·ln(1/ε) looks in all
        (Mirzasoleiman et al., Lazier Than Lazy Greedy, AAAI 2015).
        """
        num = len(self._best)
        size = min(num, math.ceil(num / count * math.log(1 / epsilon)))
        taken, order = np.zeros(num, dtype=np.bool_), list[int]()
        while len(order) < count:
            left = np.flatnonzero(~taken)
            size = min(size, len(left))
            # A block of rows serves many steps, as long as they hardly meet each other's choices.
            together = min(KEPT // (num * size), math.isqrt(len(left) // size), count - len(order))
            drawn = [generator.choice(left, size, replace=False) for _ in range(max(1, together))]
            rows = self._block(np.concatenate(drawn)) if together > 1 else None
            for number, candidates in enumerate(drawn):
                if taken[candidates].any():
                    break  # drawn anew, those that miss all choices are uniform among the others
                some = None if rows is None else rows[number * size : (number + 1) * size]
                position, row = self._best_of(candidates, some)
                self.add(position, row)
                order.append(position)
                taken[position] = True
        return self._chosen(np.array(order))

    def _best_of(self, candidates: Array, rows: Array | None) -> tuple[int, Array]:
        """Return the candidate with the largest gain, and its row."""
        best, largest, row = -1, -math.inf, self._best
        for some in chunks(len(candidates), len(self._best)):
            these = self._block(candidates[some]) if rows is None else rows[some]
            gains = self.gains(these)
            if gains.max() > largest:
                winner = int(gains.argmax())
                best, largest, row = int(candidates[some][winner]), gains[winner], these[winner]
        return best, row

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
