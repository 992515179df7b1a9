"""Random*: q uniform samples an epoch; or, in turn, nobody again before everybody was trained."""

from __future__ import annotations

import torch

from thresher import RandomPruning
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: RandomPruning, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.times_trained = [0] * num_samples

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        ratio = self.method.prune_ratio if target is None else target
        assert ratio is not None
        quota = max(1, round((1 - ratio) * self.num_samples))
        key = draws.uniform(self.num_samples, "selection", torch.float64).tolist()
        left, chosen = set(range(self.num_samples)), set[int]()
        while len(chosen) < quota:
            pool = left
            if self.method.mode == "cycle":
                fewest = min(self.times_trained[i] for i in left)
                pool = {i for i in left if self.times_trained[i] == fewest}
            i = min(pool, key=lambda i: key[i])
            left.remove(i)
            chosen.add(i)
        return dict.fromkeys(chosen, 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        for step in steps:
            for i, _ in step:
                self.times_trained[i] += 1
