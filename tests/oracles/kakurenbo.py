"""KAKURENBO: of the K smallest losses hide who is right and sure, move the rest back.

Towards a ratio, which the paper does not have, so many of all that are right and sure are hidden.
"""

from __future__ import annotations

import math

from thresher import KAKURENBO
from thresher.draws import Draws


class Oracle:
    def __init__(self, method: KAKURENBO, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.loss: dict[int, float] = {}
        self.is_sure = [False] * num_samples
        self.hidden = set[int]()

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        n, tie = self.num_samples, draws.uniform(self.num_samples, "ties").tolist()
        ranked = sorted(self.loss, key=lambda i: (self.loss[i], tie[i]))
        if target is None:
            fraction = self.method.max_fraction
            for begin, multiplier in self.method.milestones:
                if epoch >= begin:
                    fraction = self.method.max_fraction * multiplier
            lowest = ranked[: min(n - 1, math.floor(fraction * n + 1e-9))]
        else:
            sure = [i for i in ranked if self.is_sure[i]]
            lowest = sure[: min(n - 1, round(target * n))]
        self.hidden = {i for i in lowest if self.is_sure[i]}
        return {i: 1.0 for i in range(n) if i not in self.hidden}

    def observe(self, steps: list[list[tuple[int, dict[str, float]]]]) -> None:
        for step in steps:
            for i, score in step:
                self.loss.pop(i, None)
                self.is_sure[i] = False
                if all(map(math.isfinite, score.values())):
                    self.loss[i] = score["loss"]
                    self.is_sure[i] = (
                        score["correct"] == 1 and score["confidence"] >= self.method.tau
                    )

    def refresh(self, scores: list[dict[str, float]]) -> None:
        """The release's second loop: the hidden list is run through the model as the epoch ends."""
        self.observe([[(i, scores[i]) for i in self.hidden]])
