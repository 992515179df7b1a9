"""Last-layer gradients of some samples, in two factors."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.static._rows import Block
from thresher.static.collect import Collected


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

    def inner(self, positions: Array) -> Tensor:
        """Return the inner products of some with all: float32, shape (p, m)."""
        products = self.inputs[positions] @ self.inputs.T
        return products.mul_(self.residuals[positions] @ self.residuals.T)

    def squared_norms(self) -> Tensor:
        """Return ‖g‖² of all: float32, shape (m,)."""
        return self.inputs.square().sum(1) * self.residuals.square().sum(1)

    def total(self) -> Tensor:
        """Return the sum of all gradients: float32, shape (c, d + 1)."""
        return self.residuals.T @ self.inputs

    def along(self, direction: Tensor) -> Tensor:
        """Return ⟨g_i, M⟩ for a direction M, shape (c, d + 1): float32, shape (m,)."""
        return (self.inputs @ direction.T).mul_(self.residuals).sum(1)


def cosine_block(gradients: Gradients) -> Block:
    """Return the block of s = 0.5 + 0.5 cos between unit gradients, clipped to [0, 1]."""

    def block(positions: Array) -> Array:
        return gradients.inner(positions).mul_(0.5).add_(0.5).clamp_(0.0, 1.0).numpy()

    return block
