"""Greedy choices by what one gradient step on the set would do to another loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.static.collected import Collected
from thresher.static.gradients import Gradients

Greedy = Literal["r-greedy", "stochastic", "naive"]


@final
class Target:
    """The loss that a set should lower: cross-entropy of some samples under the last layer.

    Args:
        data: needs labels, features and probabilities.
        weights: of each sample's loss, shape (m,); None for 1.
    """

    def __init__(self, data: Collected, weights: Tensor | None = None) -> None:
        assert data.features is not None
        assert data.probabilities is not None
        self._features = data.features
        # Up to a constant for each sample, which softmax takes off again.
        self._logits = data.probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
        self._targets = data.probabilities - data.residuals()
        self._weights = weights

    def gradient(self, step: Tensor) -> Tensor:
        """Return the mean gradient after the last layer has moved by −`step`: both (c, d + 1)."""
        logits = torch.addmm(step[:, -1], self._features, step[:, :-1].T)
        errors = (self._logits - logits).softmax(1).sub_(self._targets)
        if self._weights is not None:
            errors *= self._weights[:, None]
        by_weight = errors.T @ self._features
        return torch.cat([by_weight, errors.sum(0)[:, None]], dim=1) / len(errors)


@final
@dataclass(frozen=True, kw_only=True)
class OneStepGreedy:
    """Add who has the largest ⟨g_i, ∇L(θ − η Σ_S g)⟩, and look at ∇L anew after each addition.

    Args:
        eta: η.
        greedy: "naive" looks at everybody for each addition; "stochastic" at ⌈(n / k)·ln 100⌉
            random candidates; "r-greedy" adds the best k / r of all at once, r times.
        rounds: r.
    """

    eta: float
    greedy: Greedy
    rounds: int

    def choose(
        self, gradients: Gradients, target: Target, count: int, generator: np.random.Generator
    ) -> Array:
        """Return the positions of `count` candidates in order of choice."""
        num = len(gradients)
        left, chosen = np.arange(num), list[Array]()
        taken = torch.zeros_like(gradients.total(), dtype=torch.float64)
        size = math.ceil(num / count * math.log(100))
        for batch in self._batches(count):
            drawn = np.arange(len(left))
            if self.greedy == "stochastic":
                drawn = generator.choice(len(left), min(size, len(left)), replace=False)
            candidates = torch.from_numpy(left[drawn])
            gains = gradients.along(target.gradient((self.eta * taken).float()), candidates)
            best = drawn[np.argsort(-gains.numpy(), kind="stable")[:batch]]
            chosen.append(left[best])
            taken += gradients.total(torch.from_numpy(left[best]))
            left = np.delete(left, best)
        return np.concatenate(chosen)

    def _batches(self, count: int) -> list[int]:
        """Return how many are added at once: positive numbers that sum to `count`."""
        rounds = min(self.rounds, count) if self.greedy == "r-greedy" else count
        return [(i + 1) * count // rounds - i * count // rounds for i in range(rounds)]
