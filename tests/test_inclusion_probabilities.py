"""Inclusion probabilities meet their budget and are the optimal ones."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from draw_checks import float64, importances, normal, shares
from thresher import draws
from thresher.draws import Draws

FEW = settings(max_examples=60, deadline=None)


def solve_by_sorting(importance: list[float], budget: float) -> list[float]:
    """methods.md §1.2 to the letter: sort, suffix sums, the first k that meets the condition."""
    n = len(importance)
    positive = sum(a > 0 for a in importance)
    if budget >= n:
        return [1.0] * n
    if positive <= budget:
        return [1.0 if a > 0 else (budget - positive) / (n - positive) for a in importance]
    exact = [Fraction(a) for a in importance]
    descending, b = sorted(exact, reverse=True), Fraction(budget)
    for k in range(math.ceil(budget)):
        rest = sum(descending[k:], Fraction())
        if descending[k] * (b - k) <= rest:
            return [float(min(a * (b - k) / rest, Fraction(1))) for a in exact]
    raise AssertionError("the condition holds at k = ceil(budget) - 1")


@settings(max_examples=300, deadline=None)
@given(importances, shares)
def test_solver_meets_the_budget_and_the_optimality_conditions(
    values: list[float], share: float
) -> None:
    n, a = len(values), float64(values)
    budget = share * n
    p = draws.inclusion_probabilities(a, budget)
    assert p.dtype == torch.float64
    assert float(p.min()) >= 0
    assert float(p.max()) <= 1
    assert math.fsum(p.tolist()) == pytest.approx(min(budget, n), rel=1e-12)
    free = (p < 1) & (p > 1e-19)  # below that an a is up to 2⁻¹⁰⁴ c off, and a/p coarse
    if free.any() and int((a > 0).sum()) > budget:
        # a/p is one number where p < 1, and no smaller where p = 1.
        ratio = (a / p)[free]
        c = float(ratio.max())
        assert float(ratio.min()) == pytest.approx(c, rel=1e-12)
        assert bool((a[p == 1] >= c * (1 - 1e-12)).all())


@settings(max_examples=300, deadline=None)
@given(importances, shares)
def test_solver_matches_the_sorted_form(values: list[float], share: float) -> None:
    budget = share * len(values)
    p = draws.inclusion_probabilities(float64(values), budget)
    # Beside importances 10⁵⁷⁰ times as large one is subnormal, 2⁻¹⁰⁷⁴ off, where c is 2⁻⁹⁷⁰.
    assert p.tolist() == pytest.approx(solve_by_sorting(values, budget), rel=1e-11, abs=2.0**-104)


@FEW
@given(st.lists(st.floats(0.01, 10.0), min_size=3, max_size=12), st.floats(0.1, 0.95), st.data())
def test_no_feasible_perturbation_lowers_the_variance(
    values: list[float], share: float, data: st.DataObject
) -> None:
    a = np.array(values)
    p = draws.inclusion_probabilities(torch.from_numpy(a), share * len(a)).numpy()

    def variance(q: np.ndarray) -> float:
        return float((a**2 * (1 - q) / q).sum())

    for _ in range(20):
        i, j = data.draw(st.permutations(range(len(a))))[:2]
        step = data.draw(st.floats(0, 1)) * min(p[i], 1 - p[j])
        q = p.copy()
        q[i] -= step
        q[j] += step
        if q[i] > 1e-12:
            assert variance(q) >= variance(p) * (1 - 1e-12)


@FEW
@given(
    st.lists(st.floats(0.0, 1e6), min_size=2, max_size=50).filter(lambda s: sum(s) > 1e-100),
    st.floats(0.01, 0.99),
    st.floats(0.01, 1.0),
)
def test_smoothed_importances_bound_the_probabilities(
    scores: list[float], share: float, alpha: float
) -> None:
    s = torch.tensor(scores, dtype=torch.float64)
    a = ((1 - alpha) * s + alpha * s.mean()).sqrt()
    p = draws.inclusion_probabilities(a, share * len(s))
    assert float(p.min()) >= share * math.sqrt(alpha) * (1 - 1e-12)


@FEW
@given(importances, shares, st.integers(-200, 200))
def test_scale_does_not_matter(values: list[float], share: float, power: int) -> None:
    a = torch.tensor([v if v < 1e200 else 1.0 for v in values], dtype=torch.float64)
    assume(float(a[a > 0].min() if (a > 0).any() else 1) > 1e-200)
    budget = share * len(values)
    scaled = draws.inclusion_probabilities(a * 2.0**power, budget)
    assert torch.equal(scaled, draws.inclusion_probabilities(a, budget))


def test_solver_edges() -> None:
    def solve(values: list[float], budget: float) -> list[float]:
        return draws.inclusion_probabilities(float64(values), budget).tolist()

    assert solve([1.0, 2.0, 0.0], 3) == [1.0, 1.0, 1.0]
    assert solve([1.0, 2.0], 7.5) == [1.0, 1.0]
    assert solve([0.0, 0.0, 0.0, 0.0], 1.0) == [0.25] * 4
    assert solve([5.0, 0.0, 0.0], 1.0) == [1.0, 0.0, 0.0]
    assert solve([5.0, 0.0, 0.0], 2.0) == [1.0, 0.5, 0.5]
    assert solve([3.0] * 5, 2.5) == [0.5] * 5
    assert solve([1.0, 1.0], 1e-9) == [5e-10, 5e-10]
    assert solve([7.0], 0.5) == [0.5]
    assert sum(solve([1.0] * 3, math.nextafter(3, 0))) == pytest.approx(3, rel=1e-15)


def test_solver_survives_the_ends_of_float64() -> None:
    def solve(values: list[float], budget: float) -> list[float]:
        return draws.inclusion_probabilities(float64(values), budget).tolist()

    tiny, huge = 5e-324, 1.7e308
    assert solve([huge] * 4, 2) == [0.5] * 4
    assert solve([tiny] * 3, 2) == pytest.approx([2 / 3] * 3, rel=1e-15)
    assert solve([tiny, 2 * tiny, 1.0], 2) == pytest.approx([1 / 3, 2 / 3, 1], rel=1e-15)
    assert solve([huge, 1e-300, 1e-300, 0.0], 2) == [1.0, 0.5, 0.5, 0.0]
    for values in ([huge, tiny, tiny, tiny], [huge, 1e250, 1e-20, 1e-300, tiny, 0.0]):
        for budget in (0.3, 1.0, 1.5, 2.5, 3.0):
            p = solve(values, budget)
            assert all(0 <= x <= 1 for x in p)
            assert sum(p) == pytest.approx(budget, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_solver_works_in_float64_whatever_comes(dtype: torch.dtype) -> None:
    a = torch.tensor([1, 2, 3, 4, 100]).to(dtype)
    p = draws.inclusion_probabilities(a, 2.5)
    assert p.tolist() == pytest.approx([0.15, 0.3, 0.45, 0.6, 1.0], rel=1e-15)


@pytest.mark.parametrize("tail", ["normal", "lognormal", "pareto", "constant", "one outlier"])
def test_solver_at_scale(tail: str) -> None:
    n, x = 200_000, normal(200_000)
    a = {
        "normal": x.abs(),
        "lognormal": (5 * x).exp(),
        "pareto": Draws(0, 0).uniform(n, "u").double().clamp(min=1e-7) ** -2,
        "constant": torch.ones(n, dtype=torch.float64),
        "one outlier": torch.where(x == x.max(), 1e30, x.abs()),
    }[tail]
    for share in (0.1, 0.5, 0.9):
        p = draws.inclusion_probabilities(a, share * n)
        assert float(p.numpy().sum()) == pytest.approx(share * n, rel=1e-13)


@pytest.mark.parametrize(
    ("values", "budget", "message"),
    [
        ([1.0, -1.0], 1.0, r"importance must be finite and not negative; got values from -1"),
        ([1.0, math.nan], 1.0, "importance must be finite"),
        ([1.0, math.inf], 1.0, "importance must be finite"),
        ([], 1.0, "got an empty tensor"),
        ([1.0], 0.0, "budget must be positive; got 0"),
        ([1.0], -1.0, "budget must be positive"),
        ([1.0], math.nan, "budget must be positive"),
        ([1.0], math.inf, "budget must be positive"),
    ],
)
def test_solver_refuses(values: list[float], budget: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draws.inclusion_probabilities(torch.tensor(values), budget)
