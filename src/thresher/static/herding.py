"""Herding: samples whose running mean stays as close as possible to the mean of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher.methods._method import Reference
from thresher.static._method import SetMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class Herding(SetMethod):
    """Add argmin_x ‖(k+1)μ − Σ_S h − h_x‖, k = |S|, until the set is full.

    With features moved to μ = 0 that is argmin ‖h_x‖² + 2⟨Σ_S h, h_x⟩: one matrix-vector product a
    step over what is left, exactly the greedy rule, whatever n. (DeepCore takes the argmax, and
    with it the worst sample at each step.) Balanced, every class is herded to its own mean.

    Guarantees: ‖mean_S − μ‖ falls like 1/k on finitely many samples drawn with replacement; without
        replacement, as here, as long as the set is a small part of all.
    Cost: O(k·n·d) time (50,000 × 512, half of them: 75 s on one core; balanced in 10 classes:
        15 s), 4·n·d bytes.

    Example:
        >>> from thresher.static import Collected, Herding
        >>> data = Collected(features=torch.tensor([[0.0], [9.0], [4.0], [-1.0], [8.0]]))
        >>> Herding().select(data, prune_ratio=0.4)[0].tolist()
        [2, 0, 4]

    References:
        Welling, Herding Dynamical Weights to Learn, ICML 2009; Chen, Welling and Smola,
        Super-Samples from Kernel Herding, UAI 2010.
    """

    needs: ClassVar[tuple[str, ...]] = ("features",)
    unbiased_for: ClassVar[str] = ""
    cost: ClassVar[str] = "O(k n d) time, 4 n d bytes"
    reference: ClassVar[Reference] = Reference(
        title="Herding Dynamical Weights to Learn",
        authors="Welling",
        year=2009,
        venue="ICML",
    )

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        assert data.features is not None
        return among[herded(data.features[among], budget)], None


def herded(points: Tensor, count: int) -> Tensor:
    """Return the positions of `count` points in the order of herding. Overwrites the points.

    Args:
        points: float32, shape (m, d).
        count: from 1 to m.
    """
    points -= points.double().mean(0).float()
    rows = torch.cat([points, points.square().sum(1, keepdim=True)], dim=1)
    positions, order = np.arange(len(rows)), np.empty(count, dtype=np.int64)
    query = torch.zeros(rows.shape[1], dtype=torch.float32, device="cpu")
    query[-1] = 1.0
    # Twice what has been chosen, in double precision: its rounding must not add up over the steps.
    doubled = torch.zeros(rows.shape[1] - 1, dtype=torch.float64, device="cpu")
    for step in range(count):
        left = len(rows) - step
        query[:-1] = doubled
        best = int(torch.mv(rows[:left], query).argmin())
        order[step] = positions[best]
        doubled += 2 * rows[best, :-1]
        # The last one takes its place, so that a step passes only over what is left.
        rows[best], positions[best] = rows[left - 1], positions[left - 1]
    return torch.from_numpy(order)
