"""OrderDP's γ_j against brute force, fractions, the hypergeometric tail and its two limits."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thresher.errors import SettingError
from thresher.theory.beta import beta_survival
from thresher.theory.order_weights import (
    exact_order_weights,
    order_weights,
    order_weights_limit,
)


def triples(largest: int) -> list[tuple[int, int, int]]:
    return [
        (n, s, q) for n in range(1, largest + 1) for s in range(1, n + 1) for q in range(1, s + 1)
    ]


@st.composite
def sizes(draw: st.DrawFn, largest: int = 120) -> tuple[int, int, int]:
    n = draw(st.integers(1, largest))
    s = draw(st.integers(1, n))
    return n, s, draw(st.integers(1, s))


@pytest.mark.parametrize(("n", "s", "q"), [*triples(6), (9, 5, 3), (10, 6, 2)])
def test_fractions_count_the_subsets(n: int, s: int, q: int) -> None:
    """Every subset of s ranks in turn: its q smallest ranks are the q largest losses."""
    trained = [0] * n
    subsets = list(combinations(range(n), s))
    for subset in subsets:
        for rank in subset[:q]:
            trained[rank] += 1
    assert exact_order_weights(n, s, q) == [Fraction(each, len(subsets)) for each in trained]


@given(sizes())
def test_fast_form_equals_the_fractions(size: tuple[int, int, int]) -> None:
    exact = np.array([float(gamma) for gamma in exact_order_weights(*size)])
    fast = order_weights(*size).numpy()
    np.testing.assert_allclose(fast, exact, rtol=1e-11, atol=0)


@given(sizes(largest=5000))
def test_gamma_is_the_chance_of_a_rank_in_a_draw_of_fixed_size(size: tuple[int, int, int]) -> None:
    n, s, q = size
    gamma = order_weights(n, s, q).numpy()
    assert gamma.sum() == pytest.approx(q, rel=1e-11)
    # A cumulated sum may fall by its own rounding at most.
    assert (np.diff(gamma) <= 1e-15).all()
    assert (gamma[:q] == s / n).all()
    assert (gamma[n - (s - q) :] == 0).all()
    assert (gamma[: n - (s - q)] > 0).all() or gamma.min() < 1e-300
    if q == s:
        assert (gamma == s / n).all()
    if s == n:
        assert (gamma == (np.arange(n) < q)).all()


@pytest.mark.parametrize("shares", [(0.5, 0.6), (0.8, 0.375), (0.01, 0.9)])
def test_a_million_ranks_lose_no_accuracy(shares: tuple[float, float]) -> None:
    n = 1_280_000
    s = int(shares[0] * n)
    q = int(shares[1] * s)
    gamma = order_weights(n, s, q).numpy()
    assert gamma.sum() == pytest.approx(q, rel=1e-11)
    # The third form of methods' mathematics: (s/n) P[Hypergeom(n-1, j-1, s-1) <= q-1].
    near = round(n * q / s)
    for j in (near - 2000, near, near + 500, near + 2000):
        tail = stats.hypergeom.cdf(q - 1, n - 1, j - 1, s - 1)
        assert gamma[j - 1] == pytest.approx(s / n * tail, rel=1e-6)


def test_many_samples_and_few_drawn_give_the_beta_limit() -> None:
    n, s, q = 1_000_000, 10, 3
    ranks = torch.arange(1, n + 1, 997)
    limit = order_weights_limit(ranks / n, s, q)
    np.testing.assert_allclose(limit, s * stats.beta.sf(ranks / n, q, s - q), atol=1e-12)
    assert float((n * order_weights(n, s, q)[ranks - 1] - limit).abs().max()) < 4e-5


def test_shares_of_many_samples_give_a_step() -> None:
    """Less than one per cent of the ranks lie on the slope between s/n and 0."""
    n, s, q = 50_000, 25_000, 15_000
    gamma = order_weights(n, s, q) / (s / n)
    slope = (gamma > 0.01) & (gamma < 0.99)
    assert 0 < int(slope.sum()) < 0.01 * n * 2
    assert abs(int((gamma > 0.5).sum()) - n * q / s) < 0.001 * n


def test_limit_of_a_draw_that_is_trained_whole_is_flat() -> None:
    z = torch.linspace(0, 1, 5).view(5, 1)
    assert order_weights_limit(z, 7, 7).tolist() == [[7.0]] * 5


@given(st.integers(1, 60), st.integers(1, 60), st.floats(1e-9, 1 - 1e-9))
def test_beta_tail_agrees_with_scipy(a: int, b: int, z: float) -> None:
    ours = float(beta_survival(torch.tensor(z, dtype=torch.float64), a, b))
    assert ours == pytest.approx(stats.beta.sf(z, a, b), rel=1e-11, abs=1e-290)


def test_beta_tail_is_accurate_for_large_parameters_and_small_values() -> None:
    z = torch.tensor([[0.2, 0.5], [0.55, 0.7]], dtype=torch.float64)
    ours = beta_survival(z, 1500, 1500)
    np.testing.assert_allclose(ours, stats.beta.sf(z, 1500, 1500), rtol=1e-9)
    assert 0 < float(ours[1, 1]) < 1e-100
    assert beta_survival(torch.tensor([0.0, 1.0]), 1500, 2).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("n", "s", "q"), [(5, 6, 2), (5, 3, 4), (5, 3, 0), (0, 0, 0)])
def test_sizes_that_cannot_be_drawn_are_refused(n: int, s: int, q: int) -> None:
    for function in (order_weights, exact_order_weights):
        with pytest.raises(SettingError, match="1 <= q <= s <= n"):
            function(n, s, q)


@pytest.mark.parametrize(("z", "a"), [(1.5, 1), (-0.1, 1), (float("nan"), 1), (0.5, 0)])
def test_beta_refuses_what_is_no_probability(z: float, a: int) -> None:
    with pytest.raises(SettingError):
        beta_survival(torch.tensor(z), a, 2)
