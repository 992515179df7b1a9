"""The Beta distribution with whole parameters, as a tail of the binomial: torch and numpy alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError

# Values of z at once, times terms: 8 MB a temporary.
_BLOCK = 1 << 20


def beta_survival(z: Tensor, a: int, b: int) -> Tensor:
    """Return 1 - BetaCDF(z; a, b) = P[Binomial(a + b - 1, z) <= a - 1] for whole a, b >= 1.

    A sum of a positive terms over the sum of all a + b, so small values keep their relative
    accuracy: about (a + b) 10⁻¹⁵.

    Args:
        z: in [0, 1], any shape.
        a: the first parameter.
        b: the second one.

    Returns:
        float64, the shape of z.

    Raises:
        SettingError: z is outside [0, 1], or a or b below 1.

    Cost: O(a + b) for each z.

    Example:
        >>> [round(p, 9) for p in beta_survival(torch.tensor([0.0, 0.25, 1.0]), 1, 1).tolist()]
        [1.0, 0.75, 0.0]
    """
    if a < 1 or b < 1:
        raise SettingError(f"Beta({a}, {b})", "whole parameters of 1 or more")
    values = z.detach().double().cpu().numpy()
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise SettingError(f"z from {values.min()} to {values.max()}", "numbers in [0, 1]")
    trials = a + b - 1
    count = np.arange(1, trials + 1)
    log_choose = np.concatenate([[0.0], np.log((trials - count + 1) / count).cumsum()])
    flat, result = values.reshape(-1), np.empty(values.size)
    rows = max(1, _BLOCK // (trials + 1))
    for start in range(0, flat.size, rows):
        part = flat[start : start + rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            odds = np.log(part) - np.log1p(-part)
            logs = log_choose + odds[:, None] * np.arange(trials + 1)
            terms = np.exp(logs - logs.max(axis=1, keepdims=True))
            share = terms[:, :a].sum(axis=1) / terms.sum(axis=1)
        result[start : start + rows] = np.where(part <= 0, 1.0, np.where(part >= 1, 0.0, share))
    return torch.from_numpy(result.reshape(values.shape))
