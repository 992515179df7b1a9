"""Last-layer gradients of some samples, in two factors."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.static.collected import Collected
from thresher.static.kernel_rows import Block

_FEW = 32


@final
class Gradients:
    """Inner products of the last-layer gradients of some samples, from their two factors.

    ⟨g_i, g_j⟩ = ⟨r_i, r_j⟩·⟨[h_i, 1], [h_j, 1]⟩. Memory: 4·(c + d + 1) bytes a sample.

    Args:
        data: what the reference model says; needs labels, features and probabilities.
        ids: which samples, int64, shape (m,).
        unit: scale every gradient to norm 1; one of norm 0 stays 0.
    """

    def __init__(self, data: Collected, ids: Tensor, *, unit: bool = False) -> None:
        assert data.features is not None
        self.inputs = torch.nn.functional.pad(data.features[ids], (0, 1), value=1.0)
        self.residuals = data.residuals(ids)
        if unit:
            self.inputs /= self.inputs.norm(dim=1, keepdim=True)
            norms = self.residuals.norm(dim=1, keepdim=True)
            self.residuals /= norms.masked_fill_(norms == 0, 1.0)

    def __len__(self) -> int:
        return len(self.residuals)

    def inner(self, positions: Tensor) -> Tensor:
        """Return the inner products of some with all: float32, shape (p, m)."""
        by_inputs, by_residuals = self.factors(positions)
        return by_inputs.mul_(by_residuals)

    def factors(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two matrices, (p, m) each, whose elementwise product `inner` is."""
        inputs, residuals = self.inputs[positions], self.residuals[positions]
        if len(positions) < _FEW:
            # Twice as fast as the other way round, as long as the results are small.
            products = (self.inputs @ inputs.T, self.residuals @ residuals.T)
            return products[0].T.contiguous(), products[1].T.contiguous()
        return inputs @ self.inputs.T, residuals @ self.residuals.T

    def squared_norms(self) -> Tensor:
        """Return ‖g‖² of all: float32, shape (m,)."""
        return self.inputs.square().sum(1) * self.residuals.square().sum(1)

    def total(self, positions: Tensor | None = None) -> Tensor:
        """Return the sum of all gradients, or of some: float32, shape (c, d + 1)."""
        if positions is None:
            return self.residuals.T @ self.inputs
        return self.residuals[positions].T @ self.inputs[positions]

    def along(self, direction: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return ⟨g_i, M⟩ for a direction M, shape (c, d + 1), of all or of some: (m,)."""
        if positions is not None and 4 * len(positions) < len(self):
            return (self.inputs[positions] @ direction.T).mul_(self.residuals[positions]).sum(1)
        every = (self.inputs @ direction.T).mul_(self.residuals).sum(1)
        return every if positions is None else every[positions]


@final
class GradientGroups:
    """Sums of the gradients of consecutive samples over the size of a group: single ones, batches.

    A last, smaller group is divided by the same size, so that its samples count like all others.

    Args:
        gradients: of the samples, in the order of the groups.
        size: samples a group has, but for the last.
    """

    def __init__(self, gradients: Gradients, size: int) -> None:
        self._gradients, self._size = gradients, size
        self._starts = np.arange(0, len(gradients), size)

    def members(self, groups: Array) -> Tensor:
        """Return the positions of the samples of some groups, group by group."""
        positions = self._starts[groups, None] + np.arange(self._size)
        return torch.from_numpy(positions[positions < len(self._gradients)])

    def block(self, groups: Array) -> Array:
        """Return the inner products of some with all: float32, shape (p, m)."""
        if self._size == 1:
            return self._gradients.inner(torch.from_numpy(groups)).numpy()
        return np.stack([self._along(self._direction(group)) for group in groups])

    def squares(self) -> Array:
        """Return the squared norms: float64, shape (m,)."""
        if self._size == 1:
            return self._gradients.squared_norms().double().numpy()
        directions = map(self._direction, range(len(self._starts)))
        return np.array([float(each.double().square().sum()) for each in directions])

    def towards(self) -> Array:
        """Return the inner products with the sum of all: float64, shape (m,)."""
        return self._along(self._gradients.total() / self._size).astype(np.float64)

    def _direction(self, group: int) -> Tensor:
        members = self.members(np.array([group]))
        return self._gradients.total(members) / self._size

    def _along(self, direction: Tensor) -> Array:
        along = self._gradients.along(direction).numpy()
        return np.add.reduceat(along, self._starts) / np.float32(self._size)


def cosine_block(gradients: Gradients) -> Block:
    """Return the block of s = 0.5 + 0.5 cos between unit gradients."""
    half = torch.tensor(0.5, dtype=torch.float32, device="cpu")

    def block(positions: Array) -> Array:
        by_inputs, by_residuals = gradients.factors(torch.from_numpy(positions))
        return torch.addcmul(half, by_inputs, by_residuals, value=0.5, out=by_inputs).numpy()

    return block
