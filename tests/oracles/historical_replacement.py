"""Historical replacement: b draws with replacement from each large batch, w = 1 / (B g) a draw."""

from __future__ import annotations

import math

import torch

from oracles.gradient_memory import Scores, importances, large_batches
from thresher import HistoricalReplacement
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: HistoricalReplacement, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.scores = Scores(method.beta_1, method.beta_2)
        self.weight = dict[int, float]()

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        if target == 0:
            self.weight = dict.fromkeys(range(n), 1.0)
            return self.weight
        size = min(self.method.large_batch, n)
        batches = large_batches(draws, n, size)
        g = dict[int, float]()
        for ids in batches:
            a = importances(self.scores.of(ids), self.method.alpha)
            total = math.fsum(a)
            g.update(
                (i, each / total if total else 1 / len(ids)) for i, each in zip(ids, a, strict=True)
            )
        # B g as if the last, smaller one had B members too.
        relative = [len(ids) * g[i] / size for ids in batches for i in ids]

        def reached(ratio: float) -> float:
            return 1 - math.fsum((1 - each) ** (ratio * size) for each in relative) / n

        ratio = self.method.kappa if target is None else bisect(reached, 1 - target)
        generator = draws.generator("selection")
        self.weight, seen, draws_total, nums = {}, 0, round(ratio * n), list[int]()
        for ids in batches:
            before, seen = seen, seen + len(ids)
            upper, lower = (math.floor(draws_total * k / n + 0.5) for k in (seen, before))
            nums.append(max(1, upper - lower))
        # Whole large batches are drawn together, each as often as the one with most draws.
        most = max((num for ids, num in zip(batches, nums, strict=True) if len(ids) == size))
        for ids, num in zip(batches, nums, strict=True):
            drawn = [draw(ids, g, generator) for _ in range(most if len(ids) == size else num)]
            for i in drawn[:num]:
                weight = reached(ratio) * len(ids) / num / (len(ids) * g[i])
                self.weight[i] = self.weight.get(i, 0.0) + weight
        return self.weight

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        self.scores.observe(steps, self.weight)


def draw(ids: list[int], g: dict[int, float], generator: torch.Generator) -> int:
    u = torch.empty(1, dtype=torch.int32).random_(generator=generator).item() / 2**31
    cumulated = 0.0
    for i in ids:
        cumulated += g[i]
        if u < cumulated:
            return i
    return ids[-1]


def bisect(reached: object, wanted: float) -> float:
    low, high = 0.0, 20.0
    for _ in range(100):
        middle = (low + high) / 2
        if reached(middle) < wanted:  # type: ignore[operator]
            low = middle
        else:
            high = middle
    return high
