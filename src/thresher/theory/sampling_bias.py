"""OrderDP's Theorem 4: the bias of ranking inside s drawn samples instead of all n."""

from __future__ import annotations

import math

from thresher.theory._ranges import require, require_sizes
from thresher.theory._vacuous import warn_vacuous


def sampling_bias(n: int, s: int, q: int, spread: float) -> float:
    """Return a bound on |L_q - mean of the top q/s of all n losses|.

    (s/q) · (spread / 2) · √((n - s) / (s (n - 1))): the rate at which L_q tends to the CVaR. It
    vanishes at s = n.

    Proof: L_q is the expected top-q/s mean of the s drawn losses; that functional changes by at
    most C_s = s/q times the 1-Wasserstein distance of two distributions, of which the expectation
    is at most ∫ sd(F_s(x)) dx; drawn without replacement, F_s(x) has variance
    F (1 - F)(n - s) / (s (n - 1)), and F (1 - F) <= ¼. (Ours, by the argument the paper takes from
    Mehta et al.; its own constant is in `stated_bias`.)

    Args:
        n: size of the data set.
        s: samples drawn.
        q: samples trained.
        spread: the largest loss less the smallest.

    Returns:
        The bound, in units of the loss. It warns from `spread` on, beyond which no gap can be.

    Example:
        >>> round(sampling_bias(50_000, 25_000, 15_000, spread=1.0), 4)
        0.0037

    References:
        OrderDP, Theorem 4; Mehta et al., Stochastic Optimization for Spectral Risk Measures, 2023.
    """
    require_sizes(n, s, q)
    return _checked(s / q * spread / 2 * _deviation(n, s), spread, n, s)


def stated_bias(
    n: int, s: int, spectrum_bound: float, loss_bound: float, correction: float = 0.0
) -> float:
    """Return the bias term of Theorem 4 as a reader of the paper reports it.

    √2 · C_s · B · √((n - s) / (s (n - 1)) - Q_n). We have the statement, not the paper's proof, and
    not what Q_n is: it only lowers the bound, so its default 0 is on the safe side. At Q_n = 0 it
    is 2√2 times `sampling_bias` and follows from it.

    Args:
        n: size of the data set.
        s: samples drawn.
        spectrum_bound: C_s, the largest weight of a rank times n: s/q for OrderDP.
        loss_bound: B: losses are in [0, B].
        correction: Q_n, from 0 to (n - s) / (s (n - 1)).

    Returns:
        The bound, in units of the loss. It warns from B on.

    Example:
        >>> round(stated_bias(50_000, 25_000, spectrum_bound=5 / 3, loss_bound=1.0), 4)
        0.0105

    References:
        OrderDP, Theorem 4 (from a reader's note on it).
    """
    require_sizes(n, s, 1)
    variance = _deviation(n, s) ** 2
    require("correction", correction, f"[0, {variance!r}]", "Q_n")
    bound = math.sqrt(2 * (variance - correction)) * spectrum_bound * loss_bound
    return _checked(bound, loss_bound, n, s)


def _deviation(n: int, s: int) -> float:
    return math.sqrt((n - s) / (s * (n - 1))) if n > 1 else 0.0


def _checked(bound: float, trivial: float, n: int, s: int) -> float:
    require("the range of the losses", trivial, "[0, inf)", "a finite number")
    if bound >= trivial > 0:
        warn_vacuous(
            f"{bound:.3g} for {s} drawn of {n}",
            f"losses within {trivial:.3g} of each other cannot differ by more",
            "Draw more samples (a larger rho_s), or train more of them (a larger rho_q)",
        )
    return bound
