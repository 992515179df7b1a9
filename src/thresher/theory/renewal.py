"""Why RePB's weights E/N are better than its paper says: what a sample contributes in expectation.

Let G_1, G_2, ... be the gaps between a sample's epochs in the set, independent and distributed
alike; the first epoch is forced. In epoch t (from 1) it contributes (t - 1)/N if it is in. If t is
its (m+1)-th epoch, t - 1 = G_1 + ... + G_m and the weight is the mean of these gaps. Gaps are
exchangeable, so any one of them has that mean in expectation:

    E[contribution_t] = Σ_m E[G_1; G_1 + ... + G_m = t - 1] = Σ_{g<t} g P(G = g) u(t - 1 - g),

u(k) the chance to be in k epochs after being in. By the renewal theorem u → 1/E[G], so the
contribution tends to E[G] / E[G] = 1 *exactly*. The paper's §4.2 expects slightly more than 1 by
Jensen's inequality; that is true of the weight alone, and the forced first epoch cancels it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.theory._ranges import require


def gap_chances(rho: float, below: float, longest: int) -> Tensor:
    """Return P(G = g) for g = 1, 2, ...: how many epochs pass between two visits of a sample.

    It is in the next epoch with probability 1 - ρ a, and otherwise returns with 1 - ρ in each
    epoch that follows: P(G = 1) = 1 - ρ a, P(G = g) = ρ a · ρ^(g-2) (1 - ρ).

    Args:
        rho: ρ in [0, 1).
        below: a in [0, 1], the sample's chance to be below its window's mean.
        longest: the largest gap to list.

    Returns:
        float64, shape (longest,); what is missing to 1 is the chance of longer gaps.

    Example:
        >>> gap_chances(0.5, 1.0, 4).tolist()
        [0.5, 0.25, 0.125, 0.0625]
    """
    require("rho", rho, "[0, 1)", "a probability below 1")
    require("below", below, "[0, 1]", "a probability")
    require("longest", longest, "[1, inf)", "a gap")
    chances = rho * below * (1 - rho) * rho ** (torch.arange(longest, dtype=torch.float64) - 1)
    chances[0] = 1 - rho * below
    return chances


def expected_contributions(gaps: Tensor) -> Tensor:
    """Return E[1(in epoch E + 1) · E / N(E)] for E = 1, ..., the length of `gaps`.

    Full training contributes 1. Memoryless gaps (a sample always below its window's mean) give
    exactly 1 - ρ^E; RePB's chain approaches 1 at least as fast. Counting the current epoch in both
    numbers, (E + 1) / (N + 1), would leave a bias of order 1/E.

    Args:
        gaps: P(G = 1), P(G = 2), ..., such as `gap_chances` gives, shape (E,).

    Returns:
        float64, shape (E,). Exact: only gaps up to E matter to the first E values.

    Cost: O(E²).

    Example:
        >>> expected_contributions(gap_chances(0.5, 1.0, 4)).tolist()
        [0.5, 0.75, 0.875, 0.9375]

    References:
        RePB, equation 3 and §4.2; the argument is ours.
    """
    chances = gaps.double().numpy()
    if chances.ndim != 1 or not (chances >= 0).all() or chances.sum() > 1 + 1e-9:
        raise SettingError(
            f"gaps of shape {chances.shape} that sum to {chances.sum():.6g}",
            "probabilities of gaps 1, 2, ..., which sum to 1 at most",
        )
    present = np.ones(len(chances))  # u(0), u(1), ...
    for after in range(1, len(chances)):
        present[after] = chances[:after] @ present[:after][::-1]
    sized = np.arange(1, len(chances) + 1) * chances
    return torch.from_numpy(np.convolve(sized, present)[: len(chances)])
