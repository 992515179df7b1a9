"""Omission: section 3.2 of its paper, per epoch or per large batch, c by its binary search."""

from __future__ import annotations

import math

import torch

from oracles.gradient_memory import Scores, binary_search, importances, large_batches
from thresher import Omission
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: Omission, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.scores = Scores(method.beta_1, method.beta_2)
        self.weight = dict[int, float]()

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n, size = self.num_samples, self.method.large_batch
        kappa = self.method.kappa if target is None else 1 - target
        populations = [list(range(n))] if size is None else large_batches(draws, n, size)
        p = dict[int, float]()
        for ids in populations:
            a = importances(self.scores.of(ids), self.method.alpha)
            c = binary_search(a, kappa * len(ids))
            p.update((i, min(each / c, 1.0)) for i, each in zip(ids, a, strict=True))
        chosen = set[int]()
        if self.method.sampling == "bernoulli":
            u = draws.uniform(n, "selection", torch.float64).tolist()
            along = [i for ids in populations for i in ids]
            for i, each in zip(along, u, strict=True):
                if each < p[i]:
                    chosen.add(i)
        else:
            order = draws.permutation(n, "order")
            if size is None:
                order = draws.local_order(n, "systematic order")
            u = draws.uniform(1, "systematic offset", torch.float64).item()
            cumulated = 0.0
            for i in order.tolist():
                before, cumulated = cumulated, cumulated + p[i]
                if math.floor(cumulated - u) != math.floor(before - u):
                    chosen.add(i)
        self.weight = {i: kappa / p[i] for i in range(n)}
        return {i: self.weight[i] for i in chosen}

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        self.scores.observe(steps, self.weight)
