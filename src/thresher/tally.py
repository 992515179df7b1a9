"""Sums over the batches of an epoch that has no plan."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import numpy as np
from torch import Tensor


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
        passed: samples of a stream that passed by.
    """

    num_reduced: int = 0
    trained: int = 0
    non_finite: int = 0
    weights: float = 0.0
    squares: float = 0.0
    largest: float = 0.0
    passed: int = 0

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
            passed=self.passed * count,
        )

    def join(self, other: Tally) -> None:
        """Add the sums of another part of the epoch."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            both = max(mine, theirs) if field.name == "largest" else mine + theirs
            setattr(self, field.name, both)


@final
class Counts:
    """What was trained of an epoch that has no plan, without reading from a device.

    Args:
        before: what was trained of it before a checkpoint was loaded.

    Attributes:
        passed: samples of a stream that passed by; None: as many as were trained.
    """

    def __init__(self, before: Tally | None = None) -> None:
        self._tally = before or Tally()
        self.passed: int | None = self._tally.passed
        self._losses: list[Tensor] = []

    def add(self, weights: np.ndarray, losses: Tensor, *, is_new: bool) -> None:
        """Count a batch, or a part of one that is not new: weights and losses, (m,)."""
        self._tally.add(weights, is_new=is_new)
        self._losses.append(losses)

    def tally(self) -> Tally:
        """Return the sums so far; losses are asked whether they are finite now."""
        tally = self._tally
        tally.non_finite += int(sum((~losses.isfinite()).sum() for losses in self._losses))
        tally.passed = tally.trained if self.passed is None else self.passed
        self._losses = []
        return tally
