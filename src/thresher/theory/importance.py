"""Katharopoulos and Fleuret's τ: what sampling by importance gains, and when it pays."""

from __future__ import annotations

from torch import Tensor

from thresher.errors import SettingError
from thresher.theory._ranges import require


def tau(norms: Tensor) -> float:
    """Return τ = (1 - ‖g - 1/B‖² / ‖g‖²)^(-1/2), where g = G / ΣG.

    It is the root mean square of G over the mean of G. Sampling by g with weights 1/(B g_i) divides
    the second moment of the gradient estimate by τ².

    Args:
        norms: G >= 0, gradient norms of B scored samples, shape (B,).

    Returns:
        1 (all equal) to √B (all but one zero); 1 if all are zero.

    Example:
        >>> tau(torch.tensor([1.0, 1.0])), tau(torch.tensor([0.0, 0.0, 0.0, 5.0]))
        (1.0, 2.0)

    References:
        Katharopoulos and Fleuret, Not All Samples Are Created Equal, ICML 2018.
    """
    values = norms.double()
    if values.ndim != 1 or not len(values) or not bool((values >= 0).all()):
        raise SettingError(f"norms of shape {tuple(norms.shape)}", "one norm >= 0 a sample")
    # Scaled, because squares of small norms leave the range.
    largest = float(values.max())
    if largest == 0:
        return 1.0
    values = values / largest
    return float(values.square().mean().sqrt() / values.mean())


def tau_threshold(candidates: int, batch_size: int) -> float:
    """Return the τ above which sampling pays for its scoring: (B + 3b) / (3b).

    A backward pass is counted as two forward ones: scoring B and training on b takes B + 3b,
    while a uniform batch of the same variance would need τ b samples, 3 τ b. (The paper's own
    comparison, in which the gain is τ, not τ².)

    Args:
        candidates: B, samples scored.
        batch_size: b, samples trained.

    Example:
        >>> tau_threshold(3 * 128, 128), round(tau_threshold(2 * 128, 128), 3)
        (2.0, 1.667)

    References:
        Katharopoulos and Fleuret, Not All Samples Are Created Equal, ICML 2018.
    """
    require("candidates", candidates, "[1, inf)", "samples scored")
    require("batch_size", batch_size, "[1, inf)", "samples trained")
    return (candidates + 3 * batch_size) / (3 * batch_size)
