"""Scores of a sample that follow from its probabilities, features and label alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from thresher.static.collected import Collected

_Formula = Callable[["Collected"], Tensor]


@final
@dataclass(frozen=True)
class Signal:
    """A named score and what it is worked out from.

    Args:
        sources: the fields of `Collected` that it reads.
        formula: float32, shape (n,), of those.
        is_local: whether a sample's value depends on that sample alone, so that it can be taken
            batch by batch.
    """

    sources: tuple[str, ...]
    formula: _Formula
    is_local: bool = True


def loss(data: Collected) -> Tensor:
    """Return −log p_y."""
    assert data.probabilities is not None
    assert data.labels is not None
    return -data.probabilities.gather(1, data.labels[:, None])[:, 0].log()


def el2n(data: Collected) -> Tensor:
    """Return ‖p − y‖."""
    return data.residuals().norm(dim=1)


def least_confidence(data: Collected) -> Tensor:
    """Return 1 − max p."""
    assert data.probabilities is not None
    return 1 - data.probabilities.amax(1)


def entropy(data: Collected) -> Tensor:
    """Return −Σ p log p."""
    assert data.probabilities is not None
    return torch.special.entr(data.probabilities).sum(1)


def margin(data: Collected) -> Tensor:
    """Return p₁ − p₂, of the two likeliest classes."""
    assert data.probabilities is not None
    first, second = data.probabilities.topk(2, dim=1).values.unbind(1)
    return first - second


def moso(data: Collected) -> Tensor:
    """Return ⟨ḡ − g_i/n, g_i⟩."""
    mean = data.gradient_sum().div_(data.num_samples)
    return data.projections(mean) - data.gradient_norms().square_().div_(data.num_samples)


def moso_exact(data: Collected) -> Tensor:
    """Return (2n−3)/(n−1)²·‖ḡ‖² − ‖g_i‖²/(n−1)² + (2n−4)/(n−1)²·⟨ḡ − g_i/n, g_i⟩."""
    n = data.num_samples
    mean = data.gradient_sum().div_(n)
    own = data.gradient_norms().square_()
    total = (
        (2 * n - 3) * mean.square().sum() - own + (2 * n - 4) * (data.projections(mean) - own / n)
    )
    return total / max(n - 1, 1) ** 2


_OUTPUT, _LABELLED = ("probabilities",), ("labels", "probabilities")
_GRADIENT = (*_LABELLED, "features")

SIGNALS = {
    "loss": Signal(_LABELLED, loss),
    "el2n": Signal(_LABELLED, el2n),
    "least_confidence": Signal(_OUTPUT, least_confidence),
    "entropy": Signal(_OUTPUT, entropy),
    "margin": Signal(_OUTPUT, margin),
    "grand_last_layer": Signal(_GRADIENT, lambda data: data.gradient_norms()),
    "moso": Signal(_GRADIENT, moso, is_local=False),
    "moso_exact": Signal(_GRADIENT, moso_exact, is_local=False),
}
"""What `Collected.signal` can work out where it was not collected."""
