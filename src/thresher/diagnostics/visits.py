"""How evenly samples are trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.plan import Plan


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Visits:
    """How often each sample was planned.

    Args:
        counts: int64, shape (n,).
        epochs: plans counted.
    """

    counts: Tensor
    epochs: int

    @property
    def mean(self) -> float:
        """Visits of a sample, on average."""
        return float(self.counts.double().mean())

    @property
    def gini(self) -> float:
        """The Gini coefficient of the counts: 0 if all are equal, near 1 if few have all."""
        ordered = np.sort(self.counts.numpy()).astype(np.float64)
        size, total = len(ordered), ordered.sum()
        ranks = np.arange(1, size + 1)
        return float(2 * (ranks @ ordered) / (size * total) - (size + 1) / size) if total else 0.0

    def share_below(self, least: float) -> float:
        """Return the share of samples with fewer than `least` visits."""
        return float((self.counts < least).double().mean())

    def quantiles(self, shares: tuple[float, ...] = (0.0, 0.05, 0.5, 0.95, 1.0)) -> list[float]:
        """Return the visits below which these shares of the samples lie."""
        return np.quantile(self.counts.numpy(), shares).tolist()

    def __str__(self) -> str:
        least, low, middle, high, most = (f"{value:g}" for value in self.quantiles())
        starved = self.share_below(self.mean / 2)
        return (
            f"{self.mean:.1f} visits a sample in {self.epochs} epochs (5 % {low}, median {middle}, "
            f"95 % {high}; {least} to {most}); Gini {self.gini:.3f}; "
            f"{starved:.1%} with less than half of the mean"
        )


def visits(plans: Iterable[Plan]) -> Visits:
    """Count how often each sample is in the plans of a run.

    Args:
        plans: one an epoch.

    Cost: eight bytes a sample.

    Example:
        >>> plans = [
        ...     Plan(epoch=e, ids=torch.tensor(ids), weights=torch.ones(2), num_samples=3)
        ...     for e, ids in enumerate([[0, 1], [1, 2], [1, 0]])
        ... ]
        >>> found = visits(plans)
        >>> found.counts.tolist(), round(found.gini, 3), round(found.share_below(2), 3)
        ([2, 3, 1], 0.222, 0.333)
    """
    counts, epochs = np.zeros(0, dtype=np.int64), 0
    for plan in plans:
        if not epochs:
            counts = np.zeros(plan.num_samples, dtype=np.int64)
        counts[plan.ids.numpy()] += 1
        epochs += 1
    if not epochs:
        raise SettingError("no plans", "one plan an epoch")
    return Visits(counts=torch.from_numpy(counts), epochs=epochs)
