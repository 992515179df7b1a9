"""Exact nearest neighbours by cosine, without a matrix of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 2**24  # similarities held at a time: 64 MB


def nearest(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return each sample's `count` most similar others, and their cosines: (n, count) each.

    Similarities are s = cos(h_i, h_j) in [−1, 1]; a sample of zero features is at 0 from all.

    Args:
        features: h, float32, shape (n, d).
        count: neighbours a sample, from 0 to n − 1.

    Cost: O(n²·d) in blocks of 64 MB; 12·count bytes a sample.

    Example:
        >>> places, cosines = nearest(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), 1)
        >>> places[:2, 0].tolist(), cosines[:2, 0].tolist()
        ([1, 0], [1.0, 1.0])
    """
    size = len(features)
    scale = features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    unit = features / scale
    places = torch.empty(size, count, dtype=torch.int64, device="cpu")
    cosines = torch.empty(size, count, dtype=torch.float32, device="cpu")
    for rows in torch.arange(size, device="cpu").split(max(1, _PAIRS // size)):
        similar = unit[rows] @ unit.T
        similar[torch.arange(len(rows), device="cpu"), rows] = -torch.inf
        best = similar.topk(count, dim=1)
        places[rows], cosines[rows] = best.indices, best.values
    return places, cosines
