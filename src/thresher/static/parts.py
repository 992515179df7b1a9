"""Random parts of the candidates, for rules whose memory grows with the square of their number."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from thresher.draws import Draws
from thresher.static._method import apportioned


def random_parts(among: Tensor, budget: int, most: int, seed: int) -> list[tuple[Tensor, int]]:
    """Return the candidates in random parts of nearly equal size, and each part's budget.

    Args:
        among: the candidates' ids, int64, shape (m,), ascending.
        budget: from 1 to m.
        most: members a part has at most; up to that many candidates are one part.
        seed: of the split.

    Returns:
        ids, ascending, and budgets that are proportional to the sizes and sum to `budget`.

    Example:
        >>> parts = random_parts(torch.arange(10), 5, 4, seed=0)
        >>> [(len(ids), quota) for ids, quota in parts]
        [(4, 2), (3, 2), (3, 1)]
    """
    order = Draws(seed, 0).permutation(len(among), "parts")
    parts = [part.sort().values for part in among[order].tensor_split(-(-len(among) // most))]
    return list(zip(parts, apportioned([len(part) for part in parts], budget), strict=True))


def generator_of(seed: int, among: Tensor) -> np.random.Generator:
    """Return a generator for a choice among these ids: not the same one for every class."""
    drawn = Draws(seed, 0).generator(f"among {int(among[0])}")
    return np.random.default_rng(drawn.initial_seed())
