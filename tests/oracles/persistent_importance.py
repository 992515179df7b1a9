"""Salaün et al.: persistent importances, chances ∝ importance capped at 1, weights inversely."""

from __future__ import annotations

import math

import torch

from oracles.gradient_memory import binary_search
from thresher import PersistentImportance
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: PersistentImportance, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.importance: dict[int, float] = {}

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        if not self.importance:
            return dict.fromkeys(range(n), 1.0)
        kappa = self.method.kappa if target is None else 1 - target
        mean = math.fsum(self.importance.values()) / len(self.importance)
        a = [self.importance.get(i, mean) + self.method.epsilon * mean for i in range(n)]
        c = binary_search(a, kappa * n)
        p = [min(each / c, 1.0) for each in a]
        u = draws.uniform(1, "systematic offset", torch.float64).item()
        chosen, cumulated = set[int](), 0.0
        for i in draws.local_order(n, "systematic order").tolist():
            before, cumulated = cumulated, cumulated + p[i]
            if math.floor(cumulated - u) != math.floor(before - u):
                chosen.add(i)
        return {i: kappa / p[i] for i in chosen}

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        alpha = self.method.alpha
        for step in steps:
            for i, norm in step:
                if not math.isfinite(norm):
                    self.importance.pop(i, None)
                elif i in self.importance:
                    self.importance[i] = alpha * self.importance[i] + (1 - alpha) * norm
                else:
                    self.importance[i] = norm
