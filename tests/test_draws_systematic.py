"""Systematic sampling: exact marginals and a size that is floor or ceiling."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from draw_checks import assert_marginals, float64, magnitudes, normal
from thresher import draws
from thresher.draws import Draws

unit = st.one_of(
    st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 0.1, math.ulp(0.0)])
)
offsets = st.one_of(
    st.floats(0.0, 1.0, exclude_max=True), st.sampled_from([0.0, 1e-300, 1e-18, 1 - 2.0**-53])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(unit, min_size=0, max_size=40), offsets, st.randoms(use_true_random=False))
def test_systematic_has_a_fixed_size_and_certain_certainties(
    values: list[float], offset: float, shuffler: random.Random
) -> None:
    p = float64(values)
    order = list(range(len(values)))
    shuffler.shuffle(order)
    kept = draws.systematic(p, torch.tensor(order, dtype=torch.int64), offset)
    total = math.fsum(values)
    # A sum of rounded numbers may itself be off an integer by rounding.
    assert math.floor(total - 1e-9) <= int(kept.sum()) <= math.ceil(total + 1e-9)
    assert bool(kept[p == 1].all())
    assert not bool(kept[p == 0].any())


@settings(max_examples=150, deadline=None)
@given(st.lists(magnitudes, min_size=2, max_size=40), offsets, st.data())
def test_a_whole_budget_gives_exactly_that_many(
    values: list[float], offset: float, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(values) - 1))
    p = draws.inclusion_probabilities(float64(values), budget)
    # Probabilities within 1e-5 of 0 or 1 alone cannot absorb the rounding of their sum.
    assume(bool(((p > 1e-4) & (p < 1 - 1e-4)).any()) or bool(((p == 0) | (p == 1)).all()))
    kept = draws.systematic(p, Draws(0, 0).permutation(len(values), "order"), offset)
    assert int(kept.sum()) == budget


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 64), min_size=1, max_size=30), st.integers(0, 1023))
def test_systematic_matches_its_definition(numerators: list[int], step: int) -> None:
    # Multiples of 1/64 and offsets between them: every sum below is exact.
    p, offset = [k / 64 for k in numerators], step / 1024
    cumulated = np.concatenate([[0.0], np.cumsum(p)])
    steps = np.diff(np.floor(cumulated - offset)) != 0
    order = np.random.default_rng(step).permutation(len(p))
    placed = np.empty(len(p))
    placed[order] = p
    kept = draws.systematic(torch.from_numpy(placed), torch.from_numpy(order), offset)
    assert kept.numpy()[order].tolist() == steps.tolist()


def test_systematic_marginals_are_exact() -> None:
    # The offset runs through a fine grid instead of being drawn: every marginal is then p.
    p = torch.tensor([0.1, 0.25, 0.9, 1.0, 0.0, 0.05, 0.7], dtype=torch.float64)
    counts = torch.zeros(len(p), dtype=torch.float64)
    for k in range(1000):
        counts += draws.systematic(p, torch.tensor([3, 1, 6, 0, 2, 5, 4]), (k + 0.5) / 1000)
    assert counts.tolist() == pytest.approx((1000 * p).tolist(), abs=1.001)


def test_systematic_marginals_and_size_by_monte_carlo() -> None:
    p = draws.inclusion_probabilities(normal(40).abs().square(), 20)
    counts, num_draws = torch.zeros(40, dtype=torch.float64), 10_000
    u = Draws(0, 0).uniform(num_draws, "offset", torch.float64).tolist()
    orders = Draws(0, 0).uniform(num_draws * 40, "orders").view(num_draws, 40).argsort(1)
    for order, offset in zip(orders, u, strict=True):
        kept = draws.systematic(p, order, offset)
        assert int(kept.sum()) == 20
        counts += kept
    assert_marginals(counts, p, num_draws)


def test_systematic_size_is_floor_or_ceiling_in_proportion() -> None:
    p = torch.full((7,), 0.9, dtype=torch.float64)  # sum 6.3
    sizes = [int(draws.systematic(p, torch.arange(7), (k + 0.5) / 1000).sum()) for k in range(1000)]
    assert set(sizes) == {6, 7}
    assert sizes.count(7) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("offset", [0.0, 1e-300, 1e-17, 0.5, 1 - 2.0**-53])
def test_systematic_size_survives_rounding_at_scale(offset: float) -> None:
    n = 300_000
    for share in (0.1, 1 / 3, 0.7):
        budget = round(share * n)
        p = draws.inclusion_probabilities(normal(n).abs(), budget)
        assert int(draws.systematic(p, torch.arange(n), offset).sum()) == budget
    # 0.1 is no binary fraction: a running float64 sum of these ends 10⁻⁷ above 30,000.
    tenth = torch.full((n,), 0.1, dtype=torch.float64)
    assert int(draws.systematic(tenth, torch.arange(n), offset).sum()) == n // 10


def test_systematic_refuses() -> None:
    p = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="order must be int64"):
        draws.systematic(p, torch.arange(2).int(), 0.5)
    with pytest.raises(ValueError, match=r"order must have shape \(2,\)"):
        draws.systematic(p, torch.arange(3), 0.5)
    for offset in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"offset must be in \[0, 1\)"):
            draws.systematic(p, torch.arange(2), offset)
    with pytest.raises(IndexError):
        draws.systematic(p, torch.tensor([0, 2]), 0.5)
