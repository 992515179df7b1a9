"""Random parts of the candidates, for rules whose memory grows with the square of a part."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thresher.draws import Draws


def generator_of(seed: int, among: Tensor) -> np.random.Generator:
    """Return a generator for a choice among these ids: another one for another class."""
    return np.random.default_rng(Draws(seed, 0).generator(f"among {int(among[0])}").initial_seed())


def random_parts(num: int, budget: int, most: int, rng: np.random.Generator) -> list[tuple[Tensor, int]]:
    """Return `range(num)` in random parts of nearly equal size, and each part's budget.

    Parts have at most `most` members, ascending; one part holds everybody if it can. Budgets are
    proportional to sizes up to rounding, and sum to `budget`.

    Example:
        >>> parts = random_parts(10, 5, 4, np.random.default_rng(0))
        >>> [(len(part), quota) for part, quota in parts]
        [(3, 1), (3, 2), (4, 2)]
    """
    num_parts = -(-num // most)
    if num_parts == 1:
        return [(torch.arange(num), budget)]
    ends = np.arange(1, num_parts) * num // num_parts
    parts = np.split(rng.permutation(num), ends)
    quotas = np.diff(np.concatenate([[0], ends, [num]]) * budget // num)
    return [(torch.from_numpy(np.sort(part)), int(quota)) for part, quota in zip(parts, quotas, strict=True)]
