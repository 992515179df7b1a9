"""SCORE of the Omission paper, section 3.2.1, one sample at a time."""

from __future__ import annotations

import math

from thresher.draws import Draws


class Scores:
    def __init__(self, beta_1: float, beta_2: float) -> None:
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.score: dict[int, float] = {}  # SCORE_i of the samples that have one
        self.steps = 0
        self.average = 0.0  # EMA[E_j γ_j²; β₂] before Adam's correction

    def of(self, ids: list[int]) -> list[float]:
        return [self.score.get(i, 1.0) for i in ids]

    def observe(self, steps: list[list[tuple[int, float]]], weight: dict[int, float]) -> None:
        beta_1, beta_2 = self.beta_1, self.beta_2
        for step in steps:
            norms = {i: norm for i, norm in step if math.isfinite(norm)}
            for i, _ in step:
                if i not in norms:
                    self.score.pop(i, None)
            if not norms:
                continue
            population_mean = sum(norm**2 * weight.get(i, 1.0) for i, norm in norms.items())
            population_mean /= len(norms)
            self.steps += 1
            self.average = beta_2 * self.average + (1 - beta_2) * population_mean
            den = self.average / (1 - beta_2**self.steps)
            for i, norm in norms.items():
                normalised = norm**2 / den if den > 0 else 0.0
                if i in self.score:
                    self.score[i] = beta_1 * self.score[i] + (1 - beta_1) * normalised
                else:
                    self.score[i] = normalised


def importances(score: list[float], alpha: float) -> list[float]:
    mean = math.fsum(score) / len(score)
    return [math.sqrt((1 - alpha) * each + alpha * mean) for each in score]


def large_batches(draws: Draws, num_samples: int, size: int) -> list[list[int]]:
    """Consecutive pieces of the order that the epoch is trained in."""
    order = draws.permutation(num_samples, "order").tolist()
    return [order[k : k + size] for k in range(0, num_samples, size)]


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
