"""B → b: of each large batch a uniform part without replacement, q = round(κ n) in all."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from oracles.gradient_memory import large_batches
from thresher import RandomWithinBatch
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: RandomWithinBatch, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        q = max(1, round((self.method.kappa if target is None else 1 - target) * n))
        offset = draws.uniform(1, "rounding", torch.float64).item()
        u = Fraction(math.floor(offset * n), n)
        key = iter(torch.rand(n, generator=draws.generator("selection")).tolist())
        chosen, seen = set[int](), 0
        for ids in large_batches(draws, n, self.method.large_batch):
            before, seen = seen, seen + len(ids)
            quota = math.floor(Fraction(q * seen, n) + u) - math.floor(Fraction(q * before, n) + u)
            keys = {i: next(key) for i in ids}
            chosen |= set(sorted(ids, key=keys.__getitem__)[:quota])
        return dict.fromkeys(chosen, 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        pass
