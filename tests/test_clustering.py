"""k-means on a line: no other split of the values into stretches has a smaller sum of squares."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher._arrays import Array
from thresher.clustering import boundaries

MANY = settings(max_examples=150, deadline=None)

whole = st.lists(st.integers(-20, 20), min_size=1, max_size=9)
real = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9)


def groups(values: Array, edges: Array) -> list[Array]:
    number = np.searchsorted(edges, values, side="right")
    return [values[number == k].astype(np.float64) for k in range(len(edges) + 1)]


def cost(parts: list[Array]) -> float:
    return math.fsum(math.fsum((part - math.fsum(part) / len(part)) ** 2) for part in parts)


def least(values: Array, num_groups: int) -> float:
    """The least sum of squares, by trying every split between distinct values."""
    line = np.sort(values.astype(np.float64))
    begins = np.flatnonzero(np.diff(line)) + 1
    num_cuts = min(num_groups - 1, len(begins))
    return min(cost(np.split(line, cuts)) for cuts in combinations(begins.tolist(), num_cuts))


@MANY
@given(st.one_of(whole, real), st.integers(1, 6))
def test_no_other_split_is_better(numbers: list[float], num_groups: int) -> None:
    values = np.array(numbers, dtype=np.float32)
    parts = groups(values, boundaries(values, num_groups))
    assert len(parts) == min(num_groups, len(set(values.tolist())))
    assert all(len(part) for part in parts)
    scale = float(np.square(values, dtype=np.float64).sum())
    assert cost(parts) <= least(values, num_groups) * (1 + 1e-9) + 1e-12 * scale


@MANY
@given(st.one_of(whole, real), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_order_of_the_values_does_not_matter(numbers: list[float], k: int, rng: object) -> None:
    shuffled = list(numbers)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    ours, theirs = (boundaries(np.array(each, np.float32), k) for each in (numbers, shuffled))
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boundaries_are_the_smallest_values_of_their_groups(dtype: type) -> None:
    values = np.array([3, 1, 9, 1.5, 8, 2.5, 30], dtype=dtype)
    edges = boundaries(values, 4)
    assert edges.dtype == dtype
    assert edges.tolist() == [2.5, 8, 30]


def test_fewer_distinct_values_make_fewer_groups() -> None:
    assert boundaries(np.zeros(0, np.float32), 5).tolist() == []
    assert boundaries(np.full(2000, 3.0, np.float32), 5).tolist() == []
    assert boundaries(np.array([1.0, 2.0] * 700, np.float32), 5).tolist() == [2.0]


# --------------------------------------------------------------------- more values than are tried

SHAPES = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "log-normal": lambda rng, n: rng.lognormal(0, 2, n),
    "Pareto": lambda rng, n: rng.pareto(1.5, n),
    "uniform": lambda rng, n: rng.random(n),
    "two heaps": lambda rng, n: np.r_[rng.exponential(1e-3, n // 2), rng.normal(5, 1, n - n // 2)],
    "outliers": lambda rng, n: np.r_[rng.random(n - 2), 50.0, 500.0],
    "ties": lambda rng, n: rng.exponential(size=n).round(2),
}
of_every_shape = pytest.mark.parametrize("shape", SHAPES)


def sample(shape: str, size: int, seed: int = 0) -> Array:
    return SHAPES[shape](np.random.default_rng(seed), size).astype(np.float32)


def least_of_many(values: Array, num_groups: int) -> float:
    """The least sum of squares by dynamic programming over every value: O(k n²)."""
    line = np.sort(values.astype(np.float64))
    line -= line.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(x)]) for x in (line, line * line))
    at = np.arange(len(sums))
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (squares[:, None] - squares) - (sums[:, None] - sums) ** 2 / (at[:, None] - at)
    within[np.triu_indices(len(sums))] = np.inf
    best = within[:, 0]
    for _ in range(num_groups - 1):
        best = (within + best).min(1)
    return float(best[-1])


@of_every_shape
@pytest.mark.parametrize("num_groups", [2, 5, 10])
def test_many_values_are_split_nearly_as_well_as_can_be(shape: str, num_groups: int) -> None:
    """More than 512 distinct values are searched in rounds: no optimum is promised, but see."""
    values = sample(shape, 1500)
    parts = groups(values, boundaries(values, num_groups))
    assert len(parts) == num_groups
    assert cost(parts) <= least_of_many(values, num_groups) * 1.001


@of_every_shape
@pytest.mark.parametrize(("size", "num_groups"), [(10**5, 2), (10**5, 5), (10**5, 10), (1500, 40)])
def test_no_value_is_nearer_to_another_groups_mean(shape: str, size: int, num_groups: int) -> None:
    """What Lloyd's iteration ends at holds here too, of many values and of many groups."""
    values = sample(shape, size, seed=5)
    parts = groups(values, boundaries(values, num_groups))
    assert len(parts) == num_groups
    means = [part.mean() for part in parts]
    for k in range(num_groups - 1):
        middle = (means[k] + means[k + 1]) / 2
        slack = 1e-9 * (abs(means[k]) + abs(means[k + 1]))
        assert parts[k].max() <= middle + slack
        assert parts[k + 1].min() >= middle - slack


def test_the_largest_losses_that_float32_holds_do_not_overflow() -> None:
    values = np.array([1.0, 2.0, 3e38, 3.4e38, -3.4e38], dtype=np.float32)
    assert boundaries(values, 3).tolist() == [1.0, values[2]]
    many = np.concatenate([np.linspace(0, 1, 2000, dtype=np.float32), values])
    assert len(boundaries(many, 4)) == 3
