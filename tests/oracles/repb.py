"""RePB: equations 1 (local windows), 2 (resampling) and 3 (cumulative rescaling) of its paper."""

from __future__ import annotations

import math

from oracles.gradient_memory import binary_search
from thresher import RePB
from thresher.draws import Draws
from thresher.windows import Importance


class Oracle:
    def __init__(self, method: RePB, num_samples: int) -> None:
        self.method, self.num_samples = method, num_samples
        self.everyone = set(range(num_samples))
        self.trained_sets: list[set[int]] = []  # D_1, D_2, ... D_E
        self.score: dict[int, float] = {}  # s_i, of the samples that have one
        self.window: dict[int, dict[int, float]] = {}  # the scores of the window of sample i
        self.planned = set[int]()

    def plan(self, epoch: int, draws: Draws, target: float | None) -> dict[int, float]:
        if epoch == 0:
            self.planned = set(self.everyone)
            return dict.fromkeys(self.planned, 1.0)
        rho = self.rho(target)
        u = draws.uniform(self.num_samples, "selection").tolist()
        last = self.trained_sets[-1]
        retained = set[int]()
        for i in last:
            if self.method.rule is not None:
                if u[i] >= self.importance_chance(i, rho):
                    retained.add(i)
                continue
            s, mu = self.score.get(i, math.inf), self.mean_of_window(i)
            if s >= mu or (s < mu and u[i] >= rho):
                retained.add(i)
        final = set(retained)
        if self.method.resample:
            final |= {j for j in self.everyone - last if u[j] < 1 - rho}
        self.planned = final
        return {i: self.weight(i, epoch) for i in final}

    def mean_of_window(self, i: int) -> float:
        if i not in self.window:
            return -math.inf
        return math.fsum(self.window[i].values()) / len(self.window[i])

    def importance_chance(self, i: int, rho: float) -> float:
        """Salaün's rule inside the window of i, which keeps 1 - ρ of it."""
        if i not in self.window:
            return 0.0
        scores = {j: max(s, 0.0) for j, s in self.window[i].items()}
        mean = math.fsum(scores.values()) / len(scores)
        assert isinstance(self.method.rule, Importance)
        a = {j: s + self.method.rule.epsilon * mean for j, s in scores.items()}
        if rho == 1:
            return 1.0
        return 1 - min(a[i] / binary_search(list(a.values()), (1 - rho) * len(a)), 1.0)

    def weight(self, i: int, epochs_done: int) -> float:
        if not self.method.rescale:
            return 1.0
        return epochs_done / sum(i in trained for trained in self.trained_sets)

    def rho(self, target: float | None) -> float:
        if target is None:
            return 0.5 if self.method.rho is None else self.method.rho
        last = self.trained_sets[-1]
        below = sum(self.score.get(i, math.inf) < self.mean_of_window(i) for i in last)
        if self.method.rule is not None:
            below = len(self.score)  # the chances of a window add up to ρ times its size
        x, f = len(last) / self.num_samples, below / len(last)
        if not self.method.resample:
            target, x, f = max(0.0, target - (1 - x)), 1.0, x * f
        share = x * f + 1 - x
        return min(1.0, target / share) if share else 1.0

    def observe(self, steps: list[list[tuple[int, float]]]) -> None:
        self.trained_sets.append(self.planned)
        self.score, self.window = {}, {}
        width = self.method.window or max(1, len(steps))
        for start in range(0, len(steps), width):
            window = [pair for step in steps[start : start + width] for pair in step]
            finite = {i: s for i, s in window if math.isfinite(s)}
            for i, s in finite.items():
                self.score[i] = s
                self.window[i] = finite
