"""Omission's smoothing: importances that no sample can fall far behind, and the bounds it buys."""

from __future__ import annotations

import math

from torch import Tensor

from thresher.theory._ranges import require
from thresher.theory._vacuous import warn_vacuous


def smoothed_importance(scores: Tensor, alpha: float) -> Tensor:
    """Return a_i = √((1 - α) σ_i + α mean σ), of which p_i = min(a_i / c, 1).

    Args:
        scores: σ >= 0, squared gradient norms up to a common factor, shape (B,).
        alpha: α in [0, 1].

    Returns:
        float64, shape (B,); the mean of a² is the mean of σ.

    Example:
        >>> smoothed_importance(torch.tensor([0.0, 2.0]), alpha=0.25).tolist()
        [0.5, 1.32...]

    References:
        Omission, equation 5.
    """
    require("alpha", alpha, "[0, 1]", "a share")
    values = scores.double()
    return ((1 - alpha) * values + alpha * values.mean()).sqrt()


def least_chance(keep_ratio: float, alpha: float, score_ratio: float = 1.0) -> float:
    """Return the bound p_i >= κ √α that smoothing guarantees, whatever the scores.

    Proof: mean a² = mean σ, so b = Σ min(a_i / c, 1) <= Σ a_i / c <= (B/c) √(mean σ), hence
    c <= (B/b) √(mean σ) while a_i >= √(α mean σ). If the mean that smooths is of another population
    than the budget is over, it is κ √(α / ((1 - α) r + α)), r the budget's mean over that mean.

    Args:
        keep_ratio: κ = b/B, in (0, 1].
        alpha: α in [0, 1]; at 0 nothing is guaranteed, which warns.
        score_ratio: r: 1 where both populations are the same.

    Returns:
        A probability; the bound is tight.

    Example:
        >>> round(least_chance(keep_ratio=0.5, alpha=0.1), 3)
        0.158

    References:
        Omission, §3.2.2.
    """
    require("keep_ratio", keep_ratio, "(0, 1]", "the share of samples kept")
    require("alpha", alpha, "[0, 1]", "a share")
    require("score_ratio", score_ratio, "(0, inf)", "a ratio of means")
    if alpha == 0:
        warn_vacuous("p >= 0 at alpha = 0", "that holds of all probabilities", "Take alpha > 0")
    return keep_ratio * math.sqrt(alpha / ((1 - alpha) * score_ratio + alpha))


def largest_weight(alpha: float, score_ratio: float = 1.0) -> float:
    """Return the bound κ / p_i <= 1 / √α on a loss weight; infinite at α = 0, which warns.

    Args:
        alpha: α in [0, 1].
        score_ratio: as for `least_chance`.

    Example:
        >>> round(largest_weight(alpha=0.1), 2)
        3.16
    """
    chance = least_chance(1.0, alpha, score_ratio)
    return 1 / chance if chance > 0 else math.inf
