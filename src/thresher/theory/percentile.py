"""Selective Backprop: the share of candidates it keeps when chances are powers of percentiles."""

from __future__ import annotations

from thresher.theory._ranges import require


def kept_share(beta: float, least: float = 0.0) -> float:
    """Return E[max(p_min, U^β)], U uniform: the share of candidates that are kept.

    1 / (1 + β) without a floor. Assumes that the loss of a candidate has a uniform percentile among
    the recent ones, which holds while losses change slowly.

    Args:
        beta: β >= 0; 1, 2, 3 keep a half, a third, a quarter.
        least: p_min, in [0, 1].

    Example:
        >>> [round(kept_share(beta), 3) for beta in (1, 2, 3)]
        [0.5, 0.333, 0.25]

    References:
        Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers, 2019.
    """
    require("beta", beta, "[0, inf)", "an exponent")
    require("least", least, "[0, 1]", "a probability")
    if beta == 0:
        return 1.0
    floor = least ** (1 / beta)  # the percentile below which the floor holds
    return least * floor + (1 - floor ** (1 + beta)) / (1 + beta)
