"""Draws inside groups: the same as in each group by itself, with exact numbers and marginals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thresher import draws, within

Array = NDArray[Any]

magnitudes = st.one_of(
    st.just(0.0),
    st.sampled_from([1.0, 2.0, 0.5]),  # ties
    st.floats(0.0, 10.0),
    st.floats(-250.0, 250.0).map(lambda power: 10.0**power),  # heavy tails
)
groups = st.lists(st.lists(magnitudes, min_size=1, max_size=12), min_size=1, max_size=6)
shares = st.one_of(st.floats(1e-3, 1.0), st.sampled_from([0.25, 0.5, 1.0]))


def of_groups(values: list[list[float]], share: float) -> list[Array]:
    """The probabilities of groups of any sizes, solved at once."""
    sizes = np.array([len(group) for group in values])
    p = within.probabilities(np.concatenate([np.array(g) for g in values]), share, sizes)
    return np.split(p, np.cumsum(sizes)[:-1])


@settings(max_examples=150, deadline=None)
@given(groups, shares)
def test_probabilities_are_those_of_each_group_by_itself(
    values: list[list[float]], share: float
) -> None:
    for group, p in zip(values, of_groups(values, share), strict=True):
        alone = draws.inclusion_probabilities(
            torch.tensor(group, dtype=torch.float64), share * len(group)
        ).numpy()
        assert p == pytest.approx(alone, rel=1e-9, abs=1e-12)
        assert p.min() >= 0
        assert p.max() <= 1
        assert p.sum() == pytest.approx(share * len(group), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 500])
@pytest.mark.parametrize("size", [1, 2, 64, 257])
def test_rows_of_a_matrix_are_groups(rows: int, size: int) -> None:
    """Also of more rows than are worked on at once."""
    a = np.random.default_rng(size).exponential(size=(rows, size)) ** 3
    p = within.probabilities(a, 0.4)
    assert p.shape == a.shape
    for each, importance in zip(p[:: max(1, rows // 7)], a[:: max(1, rows // 7)], strict=True):
        alone = draws.inclusion_probabilities(torch.from_numpy(importance), 0.4 * size)
        assert each == pytest.approx(alone.numpy(), rel=1e-12)


def test_probabilities_change_nothing_they_are_given() -> None:
    a = np.array([[1.0, 9.0], [0.0, 0.0]])
    assert within.probabilities(a, 0.5).tolist() == [[0.1, 0.9], [0.5, 0.5]]
    assert a.tolist() == [[1.0, 9.0], [0.0, 0.0]]
    assert within.probabilities(np.empty((0, 3)), 0.5).shape == (0, 3)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_importances_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        within.probabilities(np.array([[1.0, bad]]), 0.5)


@pytest.mark.parametrize("share", [0.0, 1.1, math.nan])
def test_a_share_outside_of_its_interval_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        within.probabilities(np.ones((1, 2)), share)


@pytest.mark.parametrize("sizes", [[1, 2], [4, 0], [5, -1]])
def test_sizes_that_do_not_fit_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="add up to 4"):
        within.probabilities(np.ones(4), 0.5, np.array(sizes))


@given(st.integers(1, 50), st.integers(1, 20))
def test_large_batches_are_the_order_cut_into_pieces(num: int, size: int) -> None:
    order = torch.randperm(num, generator=torch.Generator().manual_seed(num)).numpy()
    written = np.empty(num)
    pieces = []
    for ids, part in within.large_batches(size, order, written):
        part[:] = ids
        pieces.append(ids)
    assert written.tolist() == order.tolist()
    assert np.concatenate([piece.ravel() for piece in pieces]).tolist() == order.tolist()
    widths = [width for piece in pieces for width in [piece.shape[1]] * len(piece)]
    assert widths == [size] * (num // size) + [num % size] * (num % size > 0)


def test_large_batches_come_in_pieces_that_fit_in_the_cache() -> None:
    pieces = list(within.large_batches(1000, np.arange(100_001)))
    assert [piece.shape for (piece,) in pieces] == [(32, 1000)] * 3 + [(4, 1000), (1, 1)]


scores = st.one_of(st.sampled_from([0.0, 1.0, math.nan]), st.floats(0.0, 2.0**100, width=32))


@settings(deadline=None)
@given(st.lists(st.lists(scores, min_size=5, max_size=5), min_size=1, max_size=4))
def test_ranks_are_the_places_in_each_sorted_row(rows: list[list[float]]) -> None:
    values = np.array(rows, dtype=np.float32)
    places = within.ranks(values, torch.Generator().manual_seed(0))
    for row, of_row in zip(values, places, strict=True):
        assert sorted(of_row.tolist()) == list(range(5))
        in_order = np.empty(5, dtype=np.float32)
        in_order[of_row] = row
        assert np.array_equal(in_order, np.sort(row), equal_nan=True)


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_ties_are_ranked_at_random(value: float) -> None:
    """Each member has each rank equally often, within 4.5 standard errors."""
    num, size = 20_000, 5
    generator = torch.Generator().manual_seed(1)
    places = within.ranks(np.full((num, size), value, dtype=np.float32), generator)
    for rank in range(size):
        share = (places == rank).mean(axis=0)
        assert np.abs(share - 1 / size).max() < 4.5 * math.sqrt(0.2 * 0.8 / num)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=10),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_quotas_are_shares_rounded_up_or_down(
    sizes: list[int], share: float, offset: float
) -> None:
    total = round(share * sum(sizes))
    given_to = within.quotas(np.array(sizes), total, offset)
    assert given_to.sum() == total
    for size, quota in zip(sizes, given_to.tolist(), strict=True):
        assert math.floor(total * size / sum(sizes)) <= quota
        assert quota <= math.ceil(total * size / sum(sizes))


def test_quotas_are_exact_in_expectation() -> None:
    sizes, total = np.array([3, 5, 2, 7]), 6
    offsets = np.arange(17) / 17 + 1e-9
    mean = np.mean([within.quotas(sizes, total, u) for u in offsets], axis=0)
    assert mean == pytest.approx(sizes * total / 17, rel=1e-12)


def test_counts_are_multinomial() -> None:
    """Mean n g, variance n g (1 - g), covariance -n g h: within 4.5 standard errors."""
    g, num, rows = np.array([0.5, 0.25, 0.2, 0.05, 0.0]), 6, 20_000
    chances = np.tile(3.7 * g, (rows, 1))
    counts, drawn_by = within.counts(chances, np.full(rows, num), torch.Generator().manual_seed(2))
    assert np.abs(drawn_by - g).max() <= 2.0**-30
    assert (counts.sum(axis=1) == num).all()
    assert not counts[:, 4].any()
    error = np.sqrt(num * g * (1 - g) / rows)
    assert (np.abs(counts.mean(axis=0) - num * g) <= 4.5 * error).all()
    expected = num * (np.diag(g) - np.outer(g, g))
    spread = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / rows)
    off = np.abs(np.cov(counts, rowvar=False) - expected)
    assert (off <= 6 * spread + 1e-12).all()  # 6: the spread is that of normal variables


def test_every_row_is_drawn_from_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(3)
    num = np.array([1, 5, 2, 40])
    counts, _ = within.counts(np.random.default_rng(0).random((4, 9)), num, generator)
    assert counts.sum(axis=1).tolist() == num.tolist()


@pytest.mark.parametrize("size", [3, 1 << 13], ids=["in 4 bytes", "in 8"])
def test_chances_that_were_drawn_by_add_up_to_1_and_are_those_asked_for(size: int) -> None:
    chances = np.random.default_rng(1).random((2, size)) ** 8
    chances[:, 1] = 0.0
    counts, g = within.counts(chances, np.array([50, 7]), torch.Generator().manual_seed(4))
    assert counts.sum(axis=1).tolist() == [50, 7]
    assert g.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert not g[:, 1].any()
    assert np.abs(g - chances / chances.sum(axis=1, keepdims=True)).max() <= 2.0**-30


def test_draws_fall_on_members_in_proportion_at_every_place_of_a_row() -> None:
    """Twice the same member, at either end of the row: within 4.5 standard errors."""
    for place in (0, 5):
        chances = np.ones((4000, 6))
        chances[:, place] = 5.0
        counts, _ = within.counts(chances, np.full(4000, 3), torch.Generator().manual_seed(5))
        assert abs(counts[:, place].mean() - 1.5) <= 4.5 * math.sqrt(0.75 / 4000)
