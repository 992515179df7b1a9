"""What OrderDP minimises: the surrogate loss L_q, its limit, and how far it is from the mean."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thresher.theory._ranges import require, require_sizes
from thresher.theory.order_weights import order_weights


def surrogate_loss(losses: Tensor, s: int, q: int) -> Tensor:
    """Return L_q = (1/q) Σ_j γ_j ℓ_(j), ℓ_(1) >= ... >= ℓ_(n); differentiable.

    It is the expectation of the mean loss over the q largest of s losses drawn uniformly. Where the
    losses are distinct, the expectation of that mean's gradient is ∇L_q (OrderDP's Theorem 1),
    *if the ranking uses losses at the same parameters as the gradient*.

    Args:
        losses: shape (n,), with or without a graph.
        s: samples drawn.
        q: samples trained, 1 <= q <= s <= n.

    Returns:
        A scalar of the losses' dtype.

    Example:
        >>> surrogate_loss(torch.tensor([1.0, 4.0, 2.0, 3.0]), s=2, q=1).item()
        3.33...

    References:
        OrderDP, Theorem 1; Kawaguchi and Lu, Ordered SGD, AISTATS 2020.
    """
    gamma = order_weights(len(losses), s, q).to(losses)
    return losses.sort(descending=True).values @ gamma / q


def surrogate_weights(losses: Tensor, s: int, q: int) -> Tensor:
    """Return the weight of each sample in L_q, γ_{rank(i)} / q: they sum to 1.

    Equal losses share the weights of their ranks evenly, as ties that are broken at random do.

    Args:
        losses: shape (n,), without NaN.
        s: samples drawn.
        q: samples trained, 1 <= q <= s <= n.

    Returns:
        float64, shape (n,), by sample.

    Example:
        >>> surrogate_weights(torch.tensor([1.0, 4.0, 2.0, 3.0]), s=2, q=1).tolist()
        [0.0, 0.5, 0.16..., 0.33...]
    """
    values = losses.detach().cpu().numpy()
    gamma = order_weights(len(losses), s, q).numpy()
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    group = np.concatenate([[0], (ordered[1:] != ordered[:-1]).cumsum()])
    shared = np.bincount(group, gamma) / np.bincount(group)
    weights = np.empty(len(values))
    weights[order] = shared[group] / q
    return torch.from_numpy(weights)


def top_mean(losses: Tensor, share: float) -> Tensor:
    """Return the mean of the largest `share` of the losses, the CVaR at level 1 - share.

    L_q tends to it, with share = q/s, when s and q grow with n: see `sampling_bias` for the rate. A
    share that ends inside a sample counts that sample in part.

    Args:
        losses: shape (n,), with or without a graph.
        share: in (0, 1].

    Returns:
        A scalar of the losses' dtype.

    Example:
        >>> top_mean(torch.tensor([1.0, 4.0, 2.0, 3.0]), share=0.375).item()
        3.66...

    References:
        Rockafellar and Uryasev, Optimization of conditional value-at-risk, J. Risk 2 (2000).
    """
    require("share", share, "(0, 1]", "a share of the samples")
    size = share * len(losses)
    counted = (size - torch.arange(len(losses), device=losses.device)).clamp(0, 1)
    return losses.sort(descending=True).values @ counted.to(losses) / size


def surrogate_gap(n: int, s: int, q: int, spread: float = 1.0) -> float:
    """Return the largest |L_q - L| that losses within `spread` of each other can have.

    L is their mean. The gap is spread · ½ Σ_j |γ_j / q - 1/n|, reached by losses of two values; it
    vanishes as q → s, and tends to spread · (1 - q/s) when s and q grow with n. (Ours: the page
    we have of OrderDP states only that the gap is controlled and vanishes.)

    Args:
        n: size of the data set.
        s: samples drawn.
        q: samples trained.
        spread: the largest loss less the smallest.

    Example:
        >>> round(surrogate_gap(1000, 500, 300), 3), surrogate_gap(1000, 500, 500)
        (0.39, 0.0)
    """
    require_sizes(n, s, q)
    require("spread", spread, "[0, inf)", "the largest loss less the smallest")
    gamma = order_weights(n, s, q).numpy()
    return spread * float(np.abs(gamma / q - 1 / n).sum()) / 2
