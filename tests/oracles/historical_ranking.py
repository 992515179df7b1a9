"""Historical ranking: Selective Backprop's ranks in a large batch, of Omission's SCORE."""

from __future__ import annotations

import math

import torch

from oracles.gradient_memory import Scores, large_batches
from thresher import HistoricalRanking
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: HistoricalRanking, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.scores = Scores(method.beta_1, method.beta_2)

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n = self.num_samples
        kappa = self.method.kappa if target is None else 1 - target
        beta = 1 / kappa - 1
        u = iter(draws.uniform(n, "selection", torch.float64).tolist())
        bits = torch.empty(n, dtype=torch.int64).random_(
            0, 2**32, generator=draws.generator("ties")
        )
        random_bits = iter(bits.tolist())
        chosen = set[int]()
        for ids in large_batches(draws, n, self.method.large_batch):
            columns = 2 ** max(1, math.ceil(math.log2(len(ids))))
            tie = {i: (next(random_bits) // columns, place) for place, i in enumerate(ids)}
            ranked = sorted(ids, key=lambda i, t=tie: (self.scores.score.get(i, math.inf), t[i]))
            rank = {i: rank for rank, i in enumerate(ranked)}
            chosen |= {i for i in ids if next(u) < ((rank[i] + 0.5) / len(ids)) ** beta}
        return dict.fromkeys(chosen, 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        self.scores.observe(steps, {})
