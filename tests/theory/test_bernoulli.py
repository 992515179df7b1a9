"""Omission's theorems: the optimum, its conditions, its variance, and the bound of smoothing."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from thresher.errors import SettingError, ThresherWarning
from thresher.theory.bernoulli import (
    least_variance,
    optimal_chances,
    optimality_gap,
    variance,
)
from thresher.theory.smoothing import largest_weight, least_chance, smoothed_importance

squares = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([0.0, 1.0, 4.0]))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, float]:
    """Squared norms with ties, zeros and heavy tails, and a budget that need not be whole."""
    norms = torch.tensor(draw(st.lists(squares, min_size=2, max_size=40)), dtype=torch.float64)
    return norms, draw(st.floats(0.1, 1.0)) * len(norms)


def enumerated(gradients: Tensor, chances: Tensor) -> float:
    """The variance of the estimate, over every subset that can be drawn."""
    kept = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(chances)))).double()
    weight = (kept * chances + (1 - kept) * (1 - chances)).prod(1)
    estimates = (kept / chances) @ gradients / len(chances)
    mean = weight @ estimates
    assert torch.allclose(mean, gradients.mean(0)), "unbiased"
    return float(weight @ (estimates - mean).square().sum(1))


def test_variance_is_that_of_every_subset_that_can_be_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    chances = torch.rand(6, generator=generator, dtype=torch.float64) * 0.8 + 0.2
    norms = gradients.square().sum(1)
    assert variance(norms, chances) == pytest.approx(enumerated(gradients, chances), rel=1e-12)


def test_random_gradients_add_a_variance_that_no_chances_change() -> None:
    """Theorem 2: dropout or augmentation makes g_i itself random, here one of two values."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    norms = values.square().sum(2).mean(0)
    added = (values.var(0, correction=0).sum() / 4**2).item()
    for chances in (torch.full((4,), 0.5).double(), optimal_chances(norms, 2.0)):
        total, mean = 0.0, values.mean((0, 1))
        for pick in itertools.product([0, 1], repeat=4):
            gradients = values[list(pick), torch.arange(4)]
            spread = (gradients.mean(0) - mean).square().sum().item()
            total += (enumerated(gradients, chances) + spread) / 16
        assert total == pytest.approx(variance(norms, chances) + added, rel=1e-12)


@given(problems())
def test_optimum_meets_the_budget_and_its_conditions(problem: tuple[Tensor, float]) -> None:
    norms, budget = problem
    chances = optimal_chances(norms, budget)
    assert float(chances.sum()) == pytest.approx(budget, rel=1e-12)
    assert optimality_gap(norms, chances) < 1e-9


@given(problems(), st.integers(0, 2**31))
def test_no_other_chances_have_less_variance(problem: tuple[Tensor, float], seed: int) -> None:
    norms, budget = problem
    best = least_variance(norms, budget)
    generator = torch.Generator().manual_seed(seed)
    p = optimal_chances(norms, budget)
    # Towards random chances of the same sum: convexity makes every feasible direction one of these.
    other = torch.rand(len(p), generator=generator, dtype=torch.float64)
    other = other * budget / other.sum()
    assume(float(other.max()) <= 1)
    for step in (1e-3, 0.3, 1.0):
        moved = variance(norms, (1 - step) * p + step * other)
        assert moved >= best * (1 - 1e-9)


def test_a_solver_that_knows_nothing_finds_the_same_optimum() -> None:
    norms = np.array([9.0, 4.0, 1.0, 0.25, 0.01])
    budget = 2.2
    found = optimize.minimize(
        lambda p: float((norms * (1 / p - 1)).sum()),
        np.full(5, budget / 5),
        bounds=[(1e-3, 1)] * 5,
        constraints={"type": "eq", "fun": lambda p: p.sum() - budget},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    ours = optimal_chances(torch.from_numpy(norms), budget)
    np.testing.assert_allclose(ours, found.x, atol=2e-4)
    assert least_variance(torch.from_numpy(norms), budget) == pytest.approx(
        found.fun / 25, rel=1e-6
    )


@given(problems(), st.integers(0, 39), st.integers(0, 39))
def test_conditions_fail_where_the_optimum_is_left(
    problem: tuple[Tensor, float], giver: int, taker: int
) -> None:
    norms, budget = problem
    chances = optimal_chances(norms, budget)
    givers = ((norms > 0) & (chances > 0.03)).nonzero().flatten().tolist()
    takers = ((norms > 0) & (chances < 0.97)).nonzero().flatten().tolist()
    assume(givers and takers)
    giver, taker = givers[giver % len(givers)], takers[taker % len(takers)]
    assume(giver != taker)
    moved = min(float(chances[giver]) / 2, float(1 - chances[taker]) / 2)
    chances[giver] -= moved
    chances[taker] += moved
    assert optimality_gap(norms, chances) > 1e-3


def test_chances_of_zero_are_optimal_only_without_a_gradient() -> None:
    norms = torch.tensor([4.0, 4.0, 0.0])
    assert optimality_gap(norms, torch.tensor([0.5, 0.5, 0.0])) == 0.0
    assert optimality_gap(norms, torch.tensor([0.0, 1.0, 0.0])) == math.inf
    assert variance(norms, torch.tensor([0.0, 1.0, 0.0])) == math.inf
    # Everybody with a gradient is certain, and the rest of the budget is free.
    assert optimality_gap(norms, torch.tensor([1.0, 1.0, 0.5])) == 0.0
    assert variance(norms, torch.tensor([1.0, 1.0, 0.5])) == 0.0


@pytest.mark.parametrize("chances", [[0.5, 1.5], [0.5, math.nan], [-0.1, 0.5]])
def test_what_is_no_probability_is_refused(chances: list[float]) -> None:
    for function in (variance, optimality_gap):
        with pytest.raises(ValueError, match="must be in"):
            function(torch.ones(2), torch.tensor(chances))


# -------------------------------------------------------------------------------------- smoothing


@given(problems(), st.floats(0.01, 1.0))
def test_smoothing_keeps_every_chance_above_its_bound(
    problem: tuple[Tensor, float], alpha: float
) -> None:
    scores, budget = problem
    assume(float(scores.max()) > 0)
    importance = smoothed_importance(scores, alpha)
    assert float(importance.square().mean()) == pytest.approx(float(scores.mean()), rel=1e-9)
    chances = optimal_chances(importance.square(), budget)
    keep_ratio = budget / len(scores)
    assert float(chances.min()) >= least_chance(keep_ratio, alpha) * (1 - 1e-9)
    weights = keep_ratio / chances
    assert float(weights.max()) <= largest_weight(alpha) * (1 + 1e-9)


def test_bound_of_smoothing_is_tight() -> None:
    """Many samples alike and one at zero: nobody is capped, and c is nearly at its own bound."""
    scores = torch.ones(100_000, dtype=torch.float64)
    scores[0] = 0.0
    chances = optimal_chances(smoothed_importance(scores, 0.1).square(), 0.5 * len(scores))
    assert float(chances[0]) == pytest.approx(least_chance(0.5, 0.1), rel=1e-4)


def test_bound_holds_where_the_smoothing_mean_is_of_another_population() -> None:
    """All samples give the mean, the budget is over one large batch of them."""
    alpha, mean = 0.1, 1.0
    batch = torch.full((10_000,), 5.0, dtype=torch.float64)  # five times the mean of everybody
    batch[0] = 0.0
    chances = optimal_chances((1 - alpha) * batch + alpha * mean, 5000.0)
    bound = least_chance(0.5, alpha, score_ratio=float(batch.mean()) / mean)
    assert float(chances[0]) >= bound
    assert float(chances[0]) == pytest.approx(bound, rel=1e-3), "tight"
    assert float(chances[0]) < least_chance(0.5, alpha), "that of one population does not hold"


def test_known_numbers_of_the_bound() -> None:
    assert 1 / least_chance(0.5, 0.1) == pytest.approx(6.32, abs=0.01)
    assert 1 / least_chance(0.1, 0.1) == pytest.approx(31.6, abs=0.1)
    assert largest_weight(1.0) == 1.0


def test_without_smoothing_the_bound_is_called_vacuous() -> None:
    with pytest.warns(ThresherWarning, match=r"vacuous.*alpha > 0"):
        assert least_chance(0.5, 0.0) == 0.0
    with pytest.warns(ThresherWarning, match="vacuous"):
        assert largest_weight(0.0) == math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        least_chance(0.5, 0.01)


@pytest.mark.parametrize("arguments", [(0.0, 0.1), (1.1, 0.1), (0.5, -0.1), (0.5, 0.1, 0.0)])
def test_shares_out_of_range_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(SettingError):
        least_chance(*arguments)
