"""InfoBatch: prune a share r of what is below the mean, weight what stays of it up.

As its code counts, exactly ⌊(1 - r) m⌋ of m stay; weights are the exact m / ⌊(1 - r) m⌋.
"""

from __future__ import annotations

import math

import torch

from thresher import InfoBatch
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: InfoBatch, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.score: dict[int, float] = {}

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        plan = dict.fromkeys(range(self.num_samples), 1.0)
        if not self.score:
            return plan
        mean = math.fsum(self.score.values()) / len(self.score)
        low = [i for i in self.score if self.score[i] < mean]
        if not low:
            return plan
        r = self.method.r
        if target is not None:
            r = min(target * self.num_samples / len(low), 0.9)
        kept = max(1, math.floor((1 - r) * len(low) + 1e-9))
        key = draws.uniform(self.num_samples, "selection", torch.float64).tolist()
        shuffled = sorted(low, key=lambda i: key[i])
        for i in shuffled[kept:]:
            del plan[i]
        for i in shuffled[:kept]:
            plan[i] = len(low) / kept
        return plan

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        for step in steps:
            for i, score in step:
                self.score.pop(i, None)
                if math.isfinite(score):
                    self.score[i] = score
