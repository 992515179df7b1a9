"""What InfoBatch saves: a share of the easy samples, in the epochs in which it may."""

from __future__ import annotations

import math

from thresher.theory._ranges import require


def expected_saving(r: float, easy: float, epochs: int, delta: float = 0.875) -> float:
    """Return the share of all sample visits that a run saves: r φ (⌊δE⌋ - 1) / E.

    Epoch 0 has no losses yet, and epochs from ⌊δE⌋ on train on everything. Assumes that φ, the
    share of samples below the mean of all stored losses, does not change. Nothing above φ can be
    reached, whatever r: with exponential losses, φ = 0.63, that is little more than half of the
    visits at the published δ.

    Args:
        r: the share of the easy samples to drop, in [0, 1].
        easy: φ, in [0, 1].
        epochs: E, 1 or more.
        delta: δ, in (0, 1].

    Example:
        >>> round(expected_saving(r=0.5, easy=0.632, epochs=200), 3)
        0.275

    References:
        InfoBatch, §2.3; the count of its epochs is ours.
    """
    require("r", r, "[0, 1]", "a share of the easy samples")
    require("easy", easy, "[0, 1]", "the share below the mean")
    require("epochs", epochs, "[1, inf)", "a number of epochs")
    require("delta", delta, "(0, 1]", "the share of the epochs in which to prune")
    # The small term keeps 0.9 * 10 from falling below its integer, as in the schedule.
    active = max(0, math.floor(delta * epochs + 1e-9) - 1)
    return r * easy * active / epochs
