"""How alike successive selections are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.diagnostics.estimate import Estimate
from thresher.errors import SettingError
from thresher.plan import Plan


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """The Jaccard index of each pair of successive selections, |A ∩ B| / |A ∪ B|.

    Args:
        jaccard: float64, shape (epochs - 1,).
        by_chance: what independent uniform selections of the same sizes have, nearly: the index of
            the expected intersection; float64, shape (epochs - 1,).
    """

    jaccard: Tensor
    by_chance: Tensor

    @property
    def mean(self) -> Estimate:
        """The mean over pairs; pairs share an epoch, so its error is a rough one."""
        return Estimate.mean_of(self.jaccard)

    def __str__(self) -> str:
        chance = float(self.by_chance.mean())
        return f"Jaccard {self.mean} over {len(self.jaccard)} pairs ({chance:.3f} by chance)"


def overlap(plans: Sequence[Plan]) -> Overlap:
    """Compare each plan's samples with the next one's.

    Leave out epochs that train on everything (the first ones, annealed ones): they say nothing of
    the rule.

    Args:
        plans: of successive epochs, three or more.

    Cost: a mask of n bytes at a time.

    Example:
        >>> plans = [
        ...     Plan(epoch=e, ids=torch.tensor(ids), weights=torch.ones(2), num_samples=4)
        ...     for e, ids in enumerate([[0, 1], [1, 2], [1, 2]])
        ... ]
        >>> print(overlap(plans))
        Jaccard 0.667 ± 0.333 over 2 pairs (0.333 by chance)

    References:
        OrderDP measures selections by it (its Table 8).
    """
    if len(plans) < 3:
        raise SettingError(f"{len(plans)} plans", "three or more, of successive epochs")
    found, chance = list[float](), list[float]()
    for before, after in pairwise(plans):
        kept = np.zeros(before.num_samples, dtype=np.bool_)
        kept[before.ids.numpy()] = True
        shared = int(np.count_nonzero(kept[after.ids.numpy()]))
        together = len(before) + len(after)
        found.append(shared / (together - shared))
        expected = len(before) * len(after) / before.num_samples
        chance.append(expected / (together - expected))
    return Overlap(
        jaccard=torch.tensor(found, dtype=torch.float64),
        by_chance=torch.tensor(chance, dtype=torch.float64),
    )
