"""RePB's bound on how far a loss can move between two steps of one window."""

from __future__ import annotations

from thresher.theory._ranges import require
from thresher.theory._vacuous import warn_vacuous


def drift_bound(
    lipschitz: float,
    window: int,
    learning_rate: float,
    gradient_bound: float,
    spread: float | None = None,
) -> float:
    """Return L W η G, a bound on |ℓ_i(θ_t) - ℓ_i(θ_t')| for two steps t, t' of one window.

    Assumes losses that are L-Lipschitz in the parameters, and steps no longer than ηG (plain SGD
    without momentum, gradients no longer than G). Two steps of a window are at most W - 1 apart;
    with W = 1 all its scores are of one set of parameters, and nothing drifts.

    Args:
        lipschitz: L.
        window: W, in optimizer steps.
        learning_rate: η.
        gradient_bound: G.
        spread: how far apart the losses of a window are. A bound that is not below it says
            nothing about their order, and warns.

    Returns:
        The bound, in units of the loss.

    Example:
        >>> drift_bound(lipschitz=2.0, window=4, learning_rate=0.01, gradient_bound=2.0)
        0.16

    References:
        RePB, equation 5.
    """
    require("lipschitz", lipschitz, "[0, inf)", "a Lipschitz constant")
    require("window", window, "[1, inf)", "optimizer steps")
    require("learning_rate", learning_rate, "[0, inf)", "a step length")
    require("gradient_bound", gradient_bound, "[0, inf)", "a bound on gradient norms")
    bound = lipschitz * window * learning_rate * gradient_bound
    if spread is not None and window > 1 and bound >= spread:
        warn_vacuous(
            f"losses may drift by {bound:.3g} inside a window of {window} steps",
            f"they are only {spread:.3g} apart",
            "Take a shorter window: with window=1 nothing drifts",
        )
    return bound
