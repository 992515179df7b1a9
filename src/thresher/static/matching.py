"""Few vectors whose non-negative combination comes as near as possible to a given one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from thresher._arrays import Array
from thresher.static.kernel_rows import Block, KernelRows

# Shares that float32 inner products cannot tell from nothing: of the largest residual product,
# and of a squared norm.
_NO_HELP = 1e-6
_SPANNED = 1e-5


@final
@dataclass(frozen=True, kw_only=True)
class Match:
    """All positions, the chosen ones in order and then the rest, most helpful first; weights."""

    order: Array
    weights: Array


def match(block: Block, squares: Array, towards: Array, count: int, ridge: float) -> Match:
    """Choose `count` of the a_j greedily for min ‖Σ w_j a_j − b‖² + λ‖w‖², w >= 0.

    Orthogonal matching pursuit: the vector with the largest ⟨a_j, b − Σ w a⟩ joins, then all
    weights are solved again, and who would get a negative one leaves. That is the active-set
    method of Lawson and Hanson for non-negative least squares, stopped at `count` vectors: if it
    ends before, the weights are optimal among all sets.

    Args:
        block: rows of ⟨a_i, a_j⟩.
        squares: ‖a_j‖², float64, shape (m,).
        towards: ⟨a_j, b⟩, float64, shape (m,).
        count: from 1 to m.
        ridge: λ.

    Returns:
        weights that are positive for at most `count`, otherwise 0.

    Cost: O(count·m) memory and O(count·m + count²) for each vector that joins or leaves.
    """
    rows, active = KernelRows(block, len(squares)), _ActiveSet(len(squares), count, ridge)
    least = _NO_HELP * float(np.abs(towards).max(initial=0.0))
    outside, useless = towards.copy(), np.zeros(len(squares), dtype=np.bool_)
    # Every vector that joins lowers the objective; rounding alone could go in circles.
    for _ in range(3 * count):
        helpful = np.where(useless, -np.inf, outside)
        helpful[active.members()] = -np.inf
        best = int(helpful.argmax())
        if active.num == count or helpful[best] <= least:
            break
        row = rows.row(best, helpful)
        useless[best] = not active.join(best, row, float(squares[best]), float(outside[best]))
        outside = towards - active.products()
    members = active.members()
    weights = np.zeros(len(squares))
    weights[members] = active.weights[: active.num]
    outside[members] = np.inf
    rest = np.argsort(-outside, kind="stable")[active.num :]
    return Match(order=np.concatenate([members[active.by_age()], rest]), weights=weights)


@final
class _ActiveSet:
    """The vectors with positive weights, and (Gram + λI)⁻¹ of them, kept up to date."""

    def __init__(self, num: int, most: int, ridge: float) -> None:
        self.num, self._ridge, self._age = 0, ridge, 0
        self.weights = np.zeros(most)
        self._who = np.zeros(most, dtype=np.int64)
        self._since = np.zeros(most, dtype=np.int64)
        self._rows = np.empty((most, num), dtype=np.float32)
        self._inverse = np.empty((most, most))

    def members(self) -> Array:
        """Return the positions with positive weights."""
        return self._who[: self.num]

    def by_age(self) -> Array:
        """Return the places in `members`, who joined first first."""
        return np.argsort(self._since[: self.num])

    def products(self) -> Array:
        """Return ⟨a_j, Σ w a⟩ of everybody."""
        weights = self.weights[: self.num].astype(np.float32)
        return (weights @ self._rows[: self.num]).astype(np.float64)

    def join(self, who: int, row: Array, square: float, residual: float) -> bool:
        """Take one more in and solve again; False if the members span it already."""
        num, inverse = self.num, self._inverse
        others = row[self.members()].astype(np.float64)
        spanned = inverse[:num, :num] @ others
        pivot = square + self._ridge - float(others @ spanned)
        if pivot <= _SPANNED * square:
            return False
        self._add(num, spanned, 1 / pivot)
        inverse[num, :num] = inverse[:num, num] = spanned / -pivot
        inverse[num, num] = 1 / pivot
        self._who[num], self._since[num], self._rows[num] = who, self._age, row
        self.weights[num] = 0.0
        solution = self.weights[: num + 1].copy()
        solution[:num] -= spanned * (residual / pivot)
        solution[num] = residual / pivot
        self._age += 1
        self.num += 1
        self._move_to(solution)
        return True

    def _move_to(self, solution: Array) -> None:
        """Go towards the solution; who gets to 0 first leaves, and the others solve again."""
        while (solution <= 0).any():
            weights = self.weights[: self.num]
            steps = np.full(self.num, np.inf)
            np.divide(weights, weights - solution, out=steps, where=solution <= 0)
            first = int(steps.argmin())
            weights += steps[first] * (solution - weights)
            solution = self._leave(first, solution)
        self.weights[: self.num] = solution

    def _leave(self, place: int, solution: Array) -> Array:
        """Take one out; return the solution of the others."""
        num, inverse = self.num, self._inverse
        last = self.num = num - 1
        solution = solution - inverse[:num, place] * (solution[place] / inverse[place, place])
        inverse[[place, last], :num] = inverse[[last, place], :num]
        inverse[:num, [place, last]] = inverse[:num, [last, place]]
        self._add(last, inverse[:last, last], -1 / inverse[last, last])
        for each in (self._who, self._since, self._rows, self.weights, solution):
            each[place] = each[last]
        return solution[:last]

    def _add(self, size: int, vector: Array, factor: float) -> None:
        """Add factor·v vᵀ to the inverse, without a second matrix of its size."""
        both = torch.from_numpy(np.ascontiguousarray(vector))
        torch.from_numpy(self._inverse)[:size, :size].addr_(both, both, alpha=float(factor))
