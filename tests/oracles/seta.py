"""SeTa: k-means of a random part's losses, and a window over the groups from easy to hard.

Towards a ratio, which the paper does not have, the window's samples come first, then the others.
"""

from __future__ import annotations

import math

import torch

from thresher import SeTa
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: SeTa, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.score: dict[int, float] = {}

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n, method = self.num_samples, self.method
        key = draws.uniform(n, "selection", torch.float64).tolist()
        shuffled = sorted(range(n), key=lambda i: key[i])
        drawn = shuffled
        if target is None:
            drawn = shuffled[: max(1, math.floor((1 - method.r) * n + 1e-9))]
        groups = kmeans({i: self.score[i] for i in drawn if i in self.score}, method.k)
        if epoch > 0 and groups:
            size = math.ceil(method.window * len(groups) / method.k)
            start = epoch % (len(groups) - size + 1)
            groups = groups[start : start + size]
        inside = {i for group in groups for i in group} | {i for i in drawn if i not in self.score}
        if target is not None:
            others = [i for i in shuffled if i not in inside]
            first = [i for i in shuffled if i in inside]
            inside = set((first + others)[: max(1, round((1 - target) * n))])
        return dict.fromkeys(inside, 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        for step in steps:
            for i, score in step:
                self.score.pop(i, None)
                if math.isfinite(score):
                    self.score[i] = score


def kmeans(score: dict[int, float], k: int) -> list[list[int]]:
    """The groups of ids with the least sum of squares, easy to hard: every last group is tried."""
    if not score:
        return []
    values = sorted(set(score.values()))
    holders = [[i for i in score if score[i] == value] for value in values]
    best: list[list[tuple[float, list[int]]]] = [[(0.0, [])]]
    for stop in range(1, len(values) + 1):
        row = [(math.inf, list[int]())]
        for count in range(1, min(k, stop) + 1):
            tried = [
                (best[start][count - 1][0] + spread(values, holders, start, stop), start)
                for start in range(count - 1, stop)
            ]
            cost, start = min(tried)
            row.append((cost, [*best[start][count - 1][1], start]))
        best.append(row)
    starts = best[-1][-1][1]
    return [
        [i for held in holders[start:stop] for i in held]
        for start, stop in zip(starts, [*starts[1:], len(values)], strict=True)
    ]


def spread(values: list[float], holders: list[list[int]], start: int, stop: int) -> float:
    group = [values[j] for j in range(start, stop) for _ in holders[j]]
    mean = math.fsum(group) / len(group)
    return math.fsum((value - mean) ** 2 for value in group)
