"""RePB as a chain: the share it prunes in the long run, its inverse, and the way there."""

from __future__ import annotations

import math

from thresher.theory._ranges import require


def stationary_rate(rho: float, below: float, *, returns_at_once: bool = False) -> float:
    """Return P, the share of samples that RePB leaves out of an epoch in the long run.

    A sample in the set leaves with probability f ρ, an absent one returns with 1 - ρ:

        P = f ρ / (1 - ρ + f ρ),        f ρ² / (1 - ρ + f ρ²) if pruned samples return at once.

    Assumes that f, the share of the set below its window mean, does not change. If easiness is
    drawn anew at every visit f is what the losses' distribution says: 0.63 for exponential ones,
    0.69 and 0.84 for log-normal ones with σ = 1 and 2. If a fixed share φ is always below and the
    rest never, average `absence` over samples: P = φ ρ, as for InfoBatch.

    Args:
        rho: ρ in [0, 1]. At 1 nobody returns and, with f > 0, everybody leaves: P = 1.
        below: f in [0, 1].
        returns_at_once: whether a sample pruned at the end of an epoch can be resampled in the
            same breath. The paper's equation 2 says no.

    Example:
        >>> round(stationary_rate(0.5, 0.7), 4)
        0.4118
        >>> round(stationary_rate(0.5, 0.7, returns_at_once=True), 4)
        0.2593

    References:
        RePB, equations 1 and 2; the chain is ours.
    """
    _check(rho, below)
    leaves = below * rho * (rho if returns_at_once else 1.0)
    return leaves / (1 - rho + leaves) if leaves else 0.0


def rho_for(prune_rate: float, below: float, *, returns_at_once: bool = False) -> float:
    """Return the ρ whose `stationary_rate` is P: ρ = P / (f + P (1 - f)).

    If pruned samples return at once: the root of f (1 - P) ρ² + P ρ - P = 0.

    Args:
        prune_rate: P in [0, 1).
        below: f in (0, 1].
        returns_at_once: as for `stationary_rate`.

    Example:
        >>> [round(rho_for(0.5, f), 3) for f in (0.6, 0.7, 0.8)]
        [0.625, 0.588, 0.556]
    """
    require("prune_rate", prune_rate, "[0, 1)", "the share to leave out")
    require("below", below, "(0, 1]", "the share below the window mean")
    if not returns_at_once:
        return prune_rate / (below + prune_rate * (1 - below))
    # Of the two forms of the root, the one that does not subtract nearly equal numbers.
    root = math.sqrt(prune_rate**2 + 4 * below * (1 - prune_rate) * prune_rate)
    return min(1.0, 2 * prune_rate / (prune_rate + root)) if prune_rate else 0.0


def run_rate(rho: float, below: float, epochs: int) -> float:
    """Return the share of all sample visits that a run of E epochs saves.

    Epoch 0 has everybody; then the share in the set is x_{e+1} = (1 - ρ) + ρ (1 - f) x_e, so that
    x_e = (1 - P) + P (ρ (1 - f))^e. What a run saves is below P by about P / (E (1 - ρ (1 - f))).

    Args:
        rho: ρ in [0, 1].
        below: f in [0, 1], as for `stationary_rate`.
        epochs: E, 1 or more.

    Example:
        >>> [round(run_rate(0.5, 0.7, epochs), 3) for epochs in (1, 2, 12, 200)]
        [0.0, 0.175, 0.371, 0.409]
    """
    _check(rho, below)
    require("epochs", epochs, "[1, inf)", "a number of epochs")
    rate, stays = stationary_rate(rho, below), rho * (1 - below)
    # Σ_{e<E} stays^e; stays = 1 only at ρ = 1, f = 0, where nothing is ever pruned.
    transient = epochs if stays == 1 else (1 - stays**epochs) / (1 - stays)
    return rate * (1 - transient / epochs)


def absence(rho: float, below: float) -> float:
    """Return the share of epochs that one sample misses, which is below with probability a.

    1 - p̄, p̄ = (1 - ρ) / (1 - ρ + ρ a), in [1 - ρ, 1]: nobody starves while ρ < 1, and no weight
    E/N settles above 1 / (1 - ρ).

    Args:
        rho: ρ in [0, 1].
        below: a, this sample's own chance to be below its window's mean.

    Example:
        >>> round(absence(0.7, 1.0), 12), absence(0.7, 0.0)
        (0.7, 0.0)
    """
    return stationary_rate(rho, below)


def _check(rho: float, below: float) -> None:
    require("rho", rho, "[0, 1]", "a probability")
    require("below", below, "[0, 1]", "the share below the window mean")
