"""SeTa: how often a sliding window over difficulty groups uses each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from thresher.theory._ranges import require


def window_usage(groups: int, window: int) -> Tensor:
    """Return the share of a cycle's epochs that train each group, easiest first.

    A window of w neighbouring groups slides over k of them in k - w + 1 positions; group j (from 1)
    is inside min(j, w, k - w + 1, k - j + 1) of these. The outermost are used least, which is the
    method's bias by design.

    Args:
        groups: k, 1 or more.
        window: w, from 1 to k.

    Returns:
        float64, shape (k,); the mean is w/k.

    Example:
        >>> window_usage(5, 4).tolist()
        [0.5, 1.0, 1.0, 1.0, 0.5]

    References:
        Zhou et al., Scale Efficient Training for Large Datasets (SeTa), 2025.
    """
    require("groups", groups, "[1, inf)", "difficulty groups")
    require("window", window, f"[1, {groups}]", "neighbouring groups")
    j = torch.arange(1, groups + 1, dtype=torch.float64)
    positions = groups - window + 1
    return torch.minimum(j, groups - j + 1).clamp(max=min(window, positions)) / positions
