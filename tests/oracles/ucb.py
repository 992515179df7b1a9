"""UCB: the top k by average loss plus c times its averaged squared deviation."""

from __future__ import annotations

import math

from thresher import UCB
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: UCB, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.u: dict[int, float] = {}
        self.v: dict[int, float] = {}
        self.chosen: list[int] = []

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        if epoch % self.method.period == 0:
            k = max(1, round((self.method.kappa if target is None else 1 - target) * n))
            tie = draws.uniform(n, "ties").tolist()
            self.chosen = sorted(range(n), key=lambda i: (-self.bound(i), tie[i]))[:k]
        return dict.fromkeys(self.chosen, 1.0)

    def bound(self, i: int) -> float:
        return self.u[i] + self.method.c * self.v[i] if i in self.u else math.inf

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        a = self.method.a
        for step in steps:
            for i, loss in step:
                if not math.isfinite(loss):
                    self.u.pop(i, None)
                elif i not in self.u:
                    self.u[i], self.v[i] = loss, 0.0
                else:
                    self.v[i] = (1 - a) * self.v[i] + a * (loss - self.u[i]) ** 2
                    self.u[i] = (1 - a) * self.u[i] + a * loss
