"""OrderDP's Theorem 3 on problems that meet its assumptions."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor

from thresher.errors import SettingError, ThresherWarning
from thresher.theory.convergence import convergence_bound
from thresher.theory.surrogate import surrogate_loss

N, S, Q, STEPS = 40, 16, 6, 200
POINTS = torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
"""Losses |θ - x_i|: convex and 1-Lipschitz, so D = |θ_0 - best| and G = 1."""


def surrogate(theta: Tensor) -> float:
    return float(surrogate_loss((theta - POINTS).abs(), S, Q))


def best() -> tuple[float, float]:
    """The minimiser and the minimum, on a grid finer than anything that is compared."""
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    values = [surrogate(theta) for theta in grid]
    smallest = min(values)
    return float(grid[values.index(smallest)]), smallest


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_in_batch_top_q_is_within_the_bound(factor: float) -> None:
    minimiser, smallest = best()
    distance, runs = abs(4.0 - minimiser), 100
    rate = factor * distance / math.sqrt(STEPS)
    generator = torch.Generator().manual_seed(1)
    theta, total = torch.full((runs, 1), 4.0, dtype=torch.float64), torch.zeros(runs, 1)
    for _ in range(STEPS):
        total = total + theta / STEPS
        batch = POINTS[torch.rand(runs, N, generator=generator).argsort(1)[:, :S]]
        top = batch.gather(1, (theta - batch).abs().topk(Q, dim=1).indices)
        theta = theta - rate * (theta - top).sign().mean(1, keepdim=True)
    reached = torch.tensor([surrogate(mean) for mean in total])
    error = float(reached.std()) / math.sqrt(runs)
    bound = convergence_bound(distance, 1.0, STEPS, rate)
    assert float(reached.mean()) - smallest <= bound + 4 * error
    # Starting there instead would not be within it: the bound says something.
    assert surrogate(torch.tensor(4.0)) - smallest > bound


def test_best_rate_has_the_least_bound() -> None:
    rates = [0.5, 0.9, 1.0, 1.1, 2.0]
    optimum = 5.0 / (2.0 * math.sqrt(100))
    bounds = [convergence_bound(5.0, 2.0, 100, rate * optimum) for rate in rates]
    assert min(bounds) == bounds[2] == pytest.approx(convergence_bound(5.0, 2.0, 100))
    assert convergence_bound(5.0, 2.0, 400) == pytest.approx(convergence_bound(5.0, 2.0, 100) / 2)


@pytest.mark.parametrize("rate", [1e-6, 10.0])
def test_a_rate_for_which_the_bound_says_nothing_is_named(rate: float) -> None:
    with pytest.warns(ThresherWarning, match=r"vacuous.*best rate is .* 0\.25"):
        convergence_bound(5.0, 2.0, 100, rate)


def test_a_bound_that_says_something_is_quiet() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convergence_bound(5.0, 2.0, 100, 0.2)


@pytest.mark.parametrize(
    "arguments", [(0.0, 1.0, 5), (1.0, math.inf, 5), (1.0, 1.0, 0), (1.0, 1.0, 5, 0.0)]
)
def test_assumptions_out_of_range_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(SettingError):
        convergence_bound(*arguments)  # type: ignore[arg-type]
