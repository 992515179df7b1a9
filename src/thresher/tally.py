"""Sums over the batches of an epoch that has no plan."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import numpy as np


@final
@dataclass(kw_only=True)
class Tally:
    """Running sums over the batches of an epoch that has no plan.

    Args:
        num_reduced: batches that were trained.
        trained: samples that were.
        non_finite: of them, those whose loss is NaN or infinite.
        weights: Σ w.
        squares: Σ w².
        largest: the largest w.
    """

    num_reduced: int = 0
    trained: int = 0
    non_finite: int = 0
    weights: float = 0.0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, weights: np.ndarray, *, is_new: bool) -> None:
        """Count samples, (m,), of a batch that `is_new` or of which a part was counted."""
        self.num_reduced += is_new
        self.trained += len(weights)
        self.weights += float(weights.sum(dtype=np.float64))
        self.squares += float(np.square(weights, dtype=np.float64).sum())
        self.largest = max(self.largest, float(weights.max(initial=0.0)))

    def times(self, count: int) -> Tally:
        """Return the sums of as many ranks as this; what was broken is this one's alone."""
        return Tally(
            num_reduced=self.num_reduced * count,
            trained=self.trained * count,
            non_finite=self.non_finite,
            weights=self.weights * count,
            squares=self.squares * count,
            largest=self.largest,
        )

    def join(self, other: Tally) -> None:
        """Add the sums of another part of the epoch."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            both = max(mine, theirs) if field.name == "largest" else mine + theirs
            setattr(self, field.name, both)
