"""How often OrderDP trains each rank of the losses: γ_j, exactly, in O(n), and in the limit."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import torch
from torch import Tensor

from thresher.theory._ranges import require_sizes
from thresher.theory.beta import beta_survival


def order_weights(n: int, s: int, q: int) -> Tensor:
    """Return γ_j, the chance that the sample of rank j is among those trained.

    Draw s of n samples uniformly without replacement and train the q with the largest losses. With
    ranks j = 1 (largest) to n and distinct losses,

        γ_j = Σ_{l<q} C(j-1, l) C(n-j, s-1-l) / C(n, s)
            = Σ_{i>=j} d_i,   d_i = C(i-1, q-1) C(n-1-i, s-q-1) / C(n, s).

    d_i is the chance that i is drawn and exactly q - 1 larger ones are. The second form has no
    differences. Its terms are built from d_{i+1} / d_i outwards from the largest, as exponentials
    of sums of log1p of exact integers, and scaled by Σ d = s/n: no factorial, no cancellation.

    Args:
        n: size of the data set.
        s: samples drawn.
        q: samples trained, 1 <= q <= s <= n.

    Returns:
        float64, shape (n,): non-increasing, Σ γ = q, γ_j = s/n for j <= q, and exactly 0 for the
        last s - q ranks.

    Raises:
        SettingError: the sizes are not 1 <= q <= s <= n.

    Cost: O(n), about 30 ms per 10⁶ ranks. Relative errors near 10⁻¹³.

    Example:
        >>> [round(gamma, 9) for gamma in order_weights(5, 3, 2).tolist()]
        [0.6, 0.6, 0.5, 0.3, 0.0]

    References:
        OrderDP, Theorem 1; Kawaguchi and Lu, Ordered SGD, AISTATS 2020, equation 3.
    """
    require_sizes(n, s, q)
    gamma = np.zeros(n)
    gamma[:q] = s / n
    if q == s:
        gamma[:] = s / n
    elif s < n:
        terms = _terms(n, s, q)  # of i = q .. n-s+q; ranks below q are all s/n
        gamma[q - 1 : n - s + q] = terms[::-1].cumsum()[::-1]
        gamma[:q] = s / n
    return torch.from_numpy(gamma)


def exact_order_weights(n: int, s: int, q: int) -> list[Fraction]:
    """Return γ_j as fractions, by counting subsets: for tests, and n of a few hundred.

    Args:
        n: size of the data set.
        s: samples drawn.
        q: samples trained.

    Example:
        >>> exact_order_weights(4, 2, 1)
        [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6), Fraction(0, 1)]
    """
    require_sizes(n, s, q)
    return [
        Fraction(
            sum(comb(j - 1, larger) * comb(n - j, s - 1 - larger) for larger in range(q)),
            comb(n, s),
        )
        for j in range(1, n + 1)
    ]


def order_weights_limit(ranks: Tensor, s: int, q: int) -> Tensor:
    """Return lim n γ_j for n → ∞ with s and q fixed and j/n → z: s (1 - BetaCDF(z; q, s - q)).

    Where s and q grow with n instead, γ_j tends to s/n for j/n < q/s and to 0 behind it.

    Args:
        ranks: z, in [0, 1], any shape.
        s: samples drawn.
        q: samples trained, 1 <= q <= s.

    Returns:
        float64, the shape of `ranks`.

    Example:
        >>> order_weights_limit(torch.tensor([0.0, 0.5, 1.0]), s=2, q=1).tolist()
        [2.0, 1.0, 0.0]

    References:
        OrderDP, Proposition 2; Kawaguchi and Lu, Ordered SGD, AISTATS 2020, Proposition 1.
    """
    require_sizes(s, s, q)
    if q == s:
        return torch.full_like(ranks, s, dtype=torch.float64)
    return s * beta_survival(ranks, q, s - q)


def _terms(n: int, s: int, q: int) -> np.ndarray:
    i = np.arange(q, n - s + q, dtype=np.int64)
    # Products below 2**63 for n up to 3 * 10**9, so the difference is exact.
    denominator = (i - q + 1) * (n - 1 - i)
    steps = np.log1p((i * (n - s + q - i) - denominator) / denominator)
    rough = np.concatenate([[0.0], steps.cumsum()])
    largest = int(rough.argmax())
    # Summed outwards from the largest term, errors stay relative to what matters.
    logs = np.empty_like(rough)
    logs[largest] = 0.0
    logs[largest + 1 :] = steps[largest:].cumsum()
    logs[:largest] = -steps[:largest][::-1].cumsum()[::-1]
    terms = np.exp(logs)
    return terms * (s / n / terms.sum())
