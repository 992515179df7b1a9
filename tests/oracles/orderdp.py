"""OrderDP: draw s samples uniformly without replacement, train the q with the largest last loss.

With `max_staleness`, those whose loss was not renewed for so long come first, the stalest before.
"""

from __future__ import annotations

import math

import torch

from thresher import OrderDP
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: OrderDP, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.loss = [math.inf] * num_samples
        self.waited = [0] * num_samples  # epochs since the loss was renewed

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        if target is None:
            s = max(1, math.floor(self.method.rho_s * n + 1e-9))
            q = max(1, math.floor(self.method.rho_q * s + 1e-9))
        else:
            q = max(1, round((1 - target) * n))
            s = max(q, math.floor(math.sqrt(1 - target) * n))
        key = draws.uniform(n, "candidates", torch.float64).tolist()
        tie = draws.uniform(n, "ties", torch.float64).tolist()
        drawn = sorted(range(n), key=lambda i: key[i])[:s]
        due = set[int]()
        if self.method.max_staleness is not None:
            due = {i for i in range(n) if self.waited[i] >= self.method.max_staleness}
        first = sorted(due, key=lambda i: (-self.waited[i], tie[i]))
        rest = sorted(set(drawn) - due, key=lambda i: (-self.loss[i], tie[i]))
        return dict.fromkeys((first + rest)[:q], 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        self.waited = [epochs + 1 for epochs in self.waited]
        for step in steps:
            for i, loss in step:
                self.loss[i] = loss if math.isfinite(loss) else math.inf
                if math.isfinite(loss):
                    self.waited[i] = 0
