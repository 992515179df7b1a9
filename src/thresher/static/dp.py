"""DP: leave out the samples whose absence, taken together, moves the parameters least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher.draws import Draws
from thresher.methods._method import Reference, require_within
from thresher.static._method import SetMethod
from thresher.static.annealing import least_norm
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class DP(SetMethod):
    """Leave out the m samples W that minimise ‖Σ_{i∈W} Δ_i‖, Δ_i = −(1/n) H⁻¹ g_i.

    Δ_i is the change of the parameters when sample i is removed (its influence), here of the last
    linear layer. Its Hessian is taken as the Kronecker product of B = E[diag(p) − ppᵀ] and
    A = E[h̃h̃ᵀ], h̃ = [h, 1], so that Δ_i = −(1/n)(B⁻¹r_i) ⊗ (A⁻¹h̃_i) stays an outer product:
    conjugate gradients on the exact Hessian would give n dense vectors of c·(d + 1), 1 GB for
    50,000 samples of 512 features and 10 classes. It is exact where p does not depend on h.

    The set is found by simulated annealing, as in the paper, from a random start: swaps of a sample
    left out for one kept, many at a time. A greedy choice would cost O(m·n·c·d).

    Args:
        damping: ε; ε times the mean of their diagonal is added to A and to B (ours).
        sweeps: how often every pair is offered a swap while the temperature falls to 0 (ours).
        seed: of the start and the swaps.

    Guarantees: none on the gradient; the ids come ascending. ‖Σ_W Δ‖ ends far below that of a
        random set, at no proven optimum. Choices are not nested.
    Cost: O(n·d² + sweeps·n·c·d); 4·(c + d) bytes a sample.

    Example:
        >>> from thresher.static import DP, Collected
        >>> p, y = torch.full((4, 2), 0.5), torch.tensor([0, 0, 1, 1])
        >>> h = torch.tensor([[1.0], [5.0], [1.0], [-3.0]])
        >>> data = Collected(labels=y, num_classes=2, features=h, probabilities=p)
        >>> DP().select(data, prune_ratio=0.5)[0].tolist()
        [1, 3]

    References:
        Yang et al., the problem in which the number of samples is given.
    """

    damping: float = 0.01
    sweeps: int = 30
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "probabilities", "features")
    cost: ClassVar[str] = "a forward pass, O(n·d² + sweeps·n·c·d)"
    reference: ClassVar[Reference] = Reference(
        title="Dataset Pruning: Reducing Training Data by Examining Generalization Influence",
        authors="Yang et al.",
        year=2023,
        venue="ICLR",
        arxiv="2205.09329",
    )

    def __post_init__(self) -> None:
        require_within(self, "damping", "(0, inf)", "a positive share of the mean diagonal")
        require_within(self, "sweeps", "[1, inf)", "one sweep or more")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        left, right = influence(data, among, self.damping)
        draws = Draws(self.seed, 0)
        removed = least_norm(left, right, len(among) - budget, self.sweeps, draws)
        return among[torch.from_numpy(np.flatnonzero(~removed.numpy()))], None


def influence(data: Collected, ids: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Return B⁻¹r, (m, c), and A⁻¹[h, 1], (m, d + 1), of `ids`: −n·Δ is their outer product."""
    p, h = data.probabilities, data.features
    assert p is not None
    assert h is not None
    outer, mean = h.new_zeros(h.shape[1] + 1, h.shape[1] + 1, dtype=torch.float64), p.mean(0)
    for start in range(0, len(h), 4096):
        block = _with_one(h[start : start + 4096]).double()
        outer += block.T @ block
    within = torch.diag(mean.double()) - (p.T @ p).double() / len(p)
    inverse_a, inverse_b = (_inverse(each, damping) for each in (outer / len(h), within))
    return data.residuals(ids) @ inverse_b, _with_one(h[ids]) @ inverse_a


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def _inverse(matrix: Tensor, damping: float) -> Tensor:
    size = len(matrix)
    # Where everything is certain B is 0; any scale will do then.
    ridge = damping * (float(matrix.trace()) / size or 1.0)
    return torch.linalg.inv(
        matrix + ridge * torch.eye(size, dtype=matrix.dtype, device="cpu")
    ).float()
