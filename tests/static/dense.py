"""What the library never makes: all gradients as rows, and all pairs of samples."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from static.found import made_up
from thresher.static import Collected


def one_class(size: int, seed: int = 0, features: int = 5) -> Collected:
    """Samples that all have the same label."""
    data = made_up(size, seed=seed, features=features)
    assert data.labels is not None
    return replace(data, labels=torch.zeros_like(data.labels))


def gradients(data: Collected) -> Tensor:
    """The last layer's gradient of every sample, by autograd: float64, shape (n, c·(d + 1))."""
    assert data.features is not None
    assert data.probabilities is not None
    assert data.labels is not None
    rows = []
    for h, p, y in zip(data.features, data.probabilities, data.labels, strict=True):
        # A last layer that gives the collected logits: log p = 0·h + log p.
        weight = torch.zeros(len(p), len(h), dtype=torch.float64, requires_grad=True)
        bias = p.double().log().requires_grad_()
        logits = weight @ h.double() + bias
        loss = torch.nn.functional.cross_entropy(logits[None], y[None])
        by_weight, by_bias = torch.autograd.grad(loss, (weight, bias))
        rows.append(torch.cat([by_weight, by_bias[:, None]], dim=1).flatten())
    return torch.stack(rows)


def cosines(data: Collected) -> Tensor:
    """s_ij = 0.5 + 0.5 cos(g_i, g_j): float64, shape (n, n)."""
    unit = torch.nn.functional.normalize(gradients(data), dim=1)
    return 0.5 + 0.5 * unit @ unit.T


def distances(rows: Tensor) -> Tensor:
    """Euclidean distances of all pairs: float64, shape (n, n)."""
    return (rows.double()[:, None] - rows.double()[None]).norm(dim=2)
