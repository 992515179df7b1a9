"""ε-greedy: (1 - ε) k by score, ε k uniformly from the remainder; the score averages losses."""

from __future__ import annotations

import math

import torch

from thresher import EpsilonGreedy
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: EpsilonGreedy, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.score = [math.inf] * num_samples
        self.chosen: list[int] = []

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        if epoch % self.method.period == 0:
            self.chosen = self.choice(draws, 1 - target if target is not None else None)
        return dict.fromkeys(self.chosen, 1.0)

    def choice(self, draws: Draws, kappa: float | None) -> list[int]:
        n = self.num_samples
        k = max(1, round((self.method.kappa if kappa is None else kappa) * n))
        explored = round(self.method.epsilon * k)
        tie = draws.uniform(n, "ties").tolist()
        key = draws.uniform(n, "selection", torch.float64).tolist()
        ranked = sorted(range(n), key=lambda i: (-self.score[i], tie[i]))
        top, remainder = ranked[: k - explored], ranked[k - explored :]
        return top + sorted(remainder, key=lambda i: key[i])[:explored]

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        a = self.method.a
        for step in steps:
            for i, loss in step:
                if not math.isfinite(loss):
                    self.score[i] = math.inf
                elif self.score[i] == math.inf:
                    self.score[i] = loss
                else:
                    self.score[i] = (1 - a) * self.score[i] + a * loss
