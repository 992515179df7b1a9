"""OrderDP's Theorem 3: how fast its steps minimise the surrogate loss, where that is convex."""

from __future__ import annotations

import math

from thresher.theory._ranges import require
from thresher.theory._vacuous import warn_vacuous


def convergence_bound(
    distance: float, gradient_bound: float, steps: int, learning_rate: float | None = None
) -> float:
    """Return a bound on E[L_q(mean iterate)] - min L_q after T steps θ ← θ - η ĝ.

    Of the subgradient method: D²/(2ηT) + ηG²/2, which is DG/√T at η = D/(G√T), the best η.

    Assumes that every ℓ_i is convex and G-Lipschitz; L_q is then convex (γ_j falls with the rank,
    so L_q is a largest value over orders) and a mean of q gradients is no longer than G; that ĝ is
    unbiased for a subgradient of L_q, which wants *fresh* ranks; that θ starts within D of a
    minimiser. No deep network is convex. The page we have of OrderDP states the rate O(1/√T);
    the constants are those of the textbook proof.

    Args:
        distance: D.
        gradient_bound: G.
        steps: T, 1 or more.
        learning_rate: η; None takes the best one.

    Returns:
        The bound, in units of the loss. It warns where it exceeds G D, which holds at the start.

    Example:
        >>> convergence_bound(distance=2.0, gradient_bound=3.0, steps=100)
        0.6

    References:
        OrderDP, Theorem 3.
    """
    require("distance", distance, "(0, inf)", "how far the start is from a minimiser")
    require("gradient_bound", gradient_bound, "(0, inf)", "a bound on gradient norms")
    require("steps", steps, "[1, inf)", "a number of steps")
    trivial = gradient_bound * distance
    if learning_rate is None:
        return trivial / math.sqrt(steps)
    require("learning_rate", learning_rate, "(0, inf)", "a step length")
    bound = distance**2 / (2 * learning_rate * steps) + learning_rate * gradient_bound**2 / 2
    if bound >= trivial:
        warn_vacuous(
            f"{bound:.3g} after {steps} steps at learning rate {learning_rate:g}",
            f"the start is within G D = {trivial:.3g} already",
            f"The best rate is D / (G sqrt(T)) = {trivial / gradient_bound**2 / steps**0.5:.3g}",
        )
    return bound
