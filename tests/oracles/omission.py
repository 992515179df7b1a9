"""Omission: section 3.2 of its paper, once per epoch, c found by the binary search it names."""

from __future__ import annotations

import math

import torch

from thresher import Omission
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: Omission, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.score: dict[int, float] = {}  # SCORE_i of the samples that have one
        self.steps = 0
        self.average = 0.0  # EMA[E_j γ_j²; β₂] before Adam's correction
        self.p: list[float] = []
        self.kappa = 1.0

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n, alpha = self.num_samples, self.method.alpha
        self.kappa = self.method.kappa if target is None else 1 - target
        score = [self.score.get(i, 1.0) for i in range(n)]
        mean = math.fsum(score) / n
        a = [math.sqrt((1 - alpha) * score[i] + alpha * mean) for i in range(n)]
        c = binary_search(a, self.kappa * n)
        self.p = [min(a[i] / c, 1.0) for i in range(n)]
        chosen = set[int]()
        if self.method.sampling == "bernoulli":
            u = draws.uniform(n, "selection", torch.float64).tolist()
            for i in range(n):
                if u[i] < self.p[i]:
                    chosen.add(i)
        else:
            u = draws.uniform(1, "systematic offset", torch.float64).item()
            cumulated = 0.0
            for i in draws.permutation(n, "systematic order").tolist():
                before, cumulated = cumulated, cumulated + self.p[i]
                if math.floor(cumulated - u) != math.floor(before - u):
                    chosen.add(i)
        return {i: self.kappa / self.p[i] for i in chosen}

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        beta_1, beta_2 = self.method.beta_1, self.method.beta_2
        for step in steps:
            norms = {i: norm for i, norm in step if math.isfinite(norm)}
            for i, _ in step:
                if i not in norms:
                    self.score.pop(i, None)
            if not norms:
                continue
            batch = len(norms) / self.kappa
            population_mean = sum(norm**2 / self.p[i] for i, norm in norms.items()) / batch
            self.steps += 1
            self.average = beta_2 * self.average + (1 - beta_2) * population_mean
            den = self.average / (1 - beta_2**self.steps)
            for i, norm in norms.items():
                normalised = norm**2 / den if den > 0 else 0.0
                if i in self.score:
                    self.score[i] = beta_1 * self.score[i] + (1 - beta_1) * normalised
                else:
                    self.score[i] = normalised


def binary_search(a: list[float], budget: float) -> float:
    """The c with Σ min(a_i / c, 1) = budget."""
    low, high = 0.0, 2 * math.fsum(a) / budget
    for _ in range(200):
        middle = (low + high) / 2
        if math.fsum(min(value / middle, 1.0) for value in a) > budget:
            low = middle
        else:
            high = middle
    return (low + high) / 2
