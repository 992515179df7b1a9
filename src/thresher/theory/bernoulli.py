"""Omission's Theorems 1 and 2: the chances of inclusion that give a gradient the least variance."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from thresher._arrays import Array, unit_interval, vector
from thresher.draws import inclusion_probabilities


def optimal_chances(squared_norms: Tensor, budget: float) -> Tensor:
    """Return the p that minimises `variance` for Σ p = b: p_i = min(‖g_i‖ / c, 1).

    Theorem 1 takes ‖g_i‖² as known. Theorem 2 takes E‖g_i‖² over dropout and augmentation; what
    these add to the variance does not depend on p, so the optimum has the same form.

    Args:
        squared_norms: ‖g_i‖² or E‖g_i‖², shape (B,).
        budget: b, the expected number of samples kept.

    Returns:
        float64, shape (B,), Σ p = min(b, B).

    Raises:
        ValueError: as `thresher.draws.inclusion_probabilities`, which solves it.

    Example:
        >>> optimal_chances(torch.tensor([64.0, 1.0, 1.0, 0.0]), budget=2.0).tolist()
        [1.0, 0.5, 0.5, 0.0]

    References:
        Omission, Theorems 1 and 2.
    """
    return inclusion_probabilities(squared_norms.double().sqrt(), budget)


def variance(squared_norms: Tensor, chances: Tensor) -> float:
    """Return Var[(1/B) Σ_kept g_i / p_i] = (1/B²) Σ ‖g_i‖² (1 - p_i) / p_i, draws independent.

    The variance of a vector is the sum of its coordinates' variances. With E‖g_i‖² (Theorem 2) it
    lacks the (1/B²) Σ Var(g_i) that dropout and augmentation add whatever p is.

    Args:
        squared_norms: ‖g_i‖² or E‖g_i‖², shape (B,).
        chances: p, in [0, 1], shape (B,). A sample with p = 0 and a gradient makes it infinite:
            the estimate is not unbiased then.

    Example:
        >>> variance(torch.tensor([4.0, 1.0]), torch.tensor([1.0, 0.5]))
        0.25

    References:
        Omission, §3.1.
    """
    p = unit_interval(chances, "chances")
    squares = vector(squared_norms, "squared_norms", p.size).astype(np.float64)
    needed = squares > 0
    with np.errstate(divide="ignore"):
        return float((squares[needed] * (1 / p[needed] - 1)).sum()) / p.size**2


def least_variance(squared_norms: Tensor, budget: float) -> float:
    """Return the variance that `optimal_chances` reaches; no chances with Σ p = b go below.

    Args:
        squared_norms: ‖g_i‖² or E‖g_i‖², shape (B,).
        budget: b, the expected number of samples kept.

    Example:
        >>> least_variance(torch.tensor([64.0, 1.0, 1.0, 0.0]), budget=2.0)
        0.125
    """
    return variance(squared_norms, optimal_chances(squared_norms, budget))


def optimality_gap(squared_norms: Tensor, chances: Tensor) -> float:
    """Return by how much chances miss the conditions of the optimum (KKT); 0 there.

    ‖g_i‖ / p_i has one value c over all p_i < 1, and ‖g_i‖ >= c wherever p_i = 1. The problem is
    convex, so for its own Σ p any p with gap 0 is optimal.

    Args:
        squared_norms: ‖g_i‖² or E‖g_i‖², shape (B,).
        chances: p, in [0, 1], shape (B,).

    Returns:
        The largest relative violation: (c_max - c_min) / c_max over the p_i < 1, or
        1 - ‖g_i‖ / c_max over the p_i = 1; infinite where a sample with a gradient has p = 0.

    Example:
        >>> norms = torch.tensor([64.0, 4.0, 1.0])
        >>> optimality_gap(norms, torch.tensor([1.0, 0.5, 0.25]))
        0.0
        >>> optimality_gap(norms, torch.tensor([0.5, 0.5, 0.75]))
        0.91...

    References:
        Omission, §3.1: equal marginal value but at probability 1.
    """
    p = unit_interval(chances, "chances")
    norms = np.sqrt(vector(squared_norms, "squared_norms", p.size).astype(np.float64))
    inside = p < 1
    # A p of 0 without a gradient takes nothing from the budget and misses nothing.
    ratios = _ratios(norms[inside], p[inside])
    largest = float(ratios.max(initial=0.0))
    if largest in (0.0, np.inf):
        return largest
    capped = 1 - norms[~inside] / largest
    return max(float(1 - ratios.min() / largest), float(capped.max(initial=0.0)), 0.0)


def _ratios(norms: Array, p: Array) -> Array:
    used = (p > 0) | (norms > 0)
    with np.errstate(divide="ignore"):
        return norms[used] / p[used]
