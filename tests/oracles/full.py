"""Train on everything."""

from __future__ import annotations

from thresher.draws import Draws
from thresher.methods import Method


class Oracle:
    def __init__(self, method: Method, num_samples: int) -> None:
        self.num_samples = num_samples

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        return dict.fromkeys(range(self.num_samples), 1.0)

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        pass
