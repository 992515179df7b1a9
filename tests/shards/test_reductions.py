"""A reduction over shards is the one over all samples, bit for bit, however they are split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shards.together import together, whole_and_shards
from thresher import draws
from thresher._arrays import Array
from thresher._exact import total
from thresher.plan import Trace
from thresher.population import EVERYONE, Population

quickly = settings(deadline=None, max_examples=60)
COUNTS = st.integers(1, 4)


def floats(dtype: Any, *, finite: bool = False) -> st.SearchStrategy[Array]:
    """Ordinary numbers, few that are often equal, and the ends of what the type holds."""
    info = np.finfo(dtype)
    edges = [0.0, -0.0, 1.0, info.tiny, info.smallest_subnormal, -info.smallest_subnormal]
    edges += [info.max / 8, -info.max / 8, 1 + info.eps]
    if not finite:
        edges += [np.inf, -np.inf]
    few = st.sampled_from([float(edge) for edge in edges])
    width = 8 * np.dtype(dtype).itemsize
    any_number = st.floats(width=width, allow_nan=False, allow_infinity=not finite)
    limit = float(info.max) / 64
    bounded = any_number.filter(lambda x: abs(x) < limit) if finite else any_number
    return arrays(dtype, st.integers(1, 40), elements=st.one_of(few, bounded))


def parts(values: Array, population: Population) -> Array:
    return values[population.shard.index :: population.shard.count]


@quickly
@given(st.one_of(floats(np.float32, finite=True), floats(np.float64, finite=True)))
def test_a_sum_is_the_exact_one_rounded_once(values: Array) -> None:
    assert EVERYONE.sum(values) == math.fsum(values.tolist())


@quickly
@given(st.one_of(floats(np.float32), floats(np.float64)), COUNTS, st.randoms())
def test_a_sum_is_the_same_for_every_split_and_order(
    values: Array, count: int, random: Any
) -> None:
    values = np.append(values, values.dtype.type(random.choice([1.0, np.nan, np.inf, 3e-30])))
    mixed = values[random.sample(range(len(values)), len(values))]
    where = values > -1
    whole = [EVERYONE.sum(values), EVERYONE.mean(values, where)]
    assert np.array_equal(EVERYONE.sum(mixed), whole[0], equal_nan=True)

    def sums(population: Population) -> list[float]:
        own = parts(values, population)
        return [population.sum(own), population.mean(own, parts(where, population))]

    for found in together(count, lambda population, _: sums(population)):
        assert np.array_equal(found, whole, equal_nan=True)


def test_sums_of_many_values_over_a_wide_range_are_exact() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=100_001) * 10.0 ** random.integers(-200, 200, 100_001)
    single = values[np.abs(values) < 1e38].astype(np.float32)
    for terms in (values, single, np.arange(70_000)):
        assert total(terms).over() == math.fsum(terms.tolist())
    where = random.random(len(values)) < 0.3
    assert total(values, where).over() == math.fsum(values[where].tolist())


def test_a_mean_is_rounded_once() -> None:
    assert EVERYONE.mean(np.full(10, 0.1)) == 0.1
    assert EVERYONE.mean(np.full(3, np.float32(0.1))) == float(np.float32(0.1))
    assert math.isnan(EVERYONE.mean(np.empty(0)))
    assert EVERYONE.mean(np.full(8, 1.7e308)) == 1.7e308, "no sum overflows on the way"
    assert EVERYONE.sum(np.full(8, -1.7e308)) == -math.inf


@quickly
@given(
    st.one_of(floats(np.float32), floats(np.float64), arrays(np.int16, st.integers(1, 30))),
    COUNTS,
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_an_order_statistic_is_the_sorted_value(
    values: Array, count: int, quantile: float, random: Any
) -> None:
    among = np.array([random.random() < 0.7 for _ in values])
    for mask in (among, None):
        ordered = np.sort(values if mask is None else values[mask])
        if not len(ordered):
            continue
        k = round(quantile * (len(ordered) - 1))

        def kth(population: Population, mask: Array | None = mask, k: int = k) -> float:
            own = None if mask is None else parts(mask, population)
            return population.kth(parts(values, population), own, k)

        whole, found = whole_and_shards(count, kth)
        assert {ordered[k], whole, *found} == {ordered[k]}


@quickly
@given(floats(np.float32), COUNTS, st.integers(0, 40), st.randoms(use_true_random=False))
@example(np.full(7, np.float32(-0.0)), 3, 4, None)
@example(np.array([np.nan, np.inf, 1.0], dtype=np.float32), 4, 2, None)
def test_the_q_largest_of_shards_are_the_q_largest(
    scores: Array, count: int, q: int, random: Any
) -> None:
    choice = (lambda some: some[-1]) if random is None else random.choice
    scores = np.append(scores, np.float32(choice([np.nan, 0.0, 5e-324])))
    keys = np.array([choice([0.25, 0.5, 0.75]) for _ in scores])  # many of them equal
    among = np.array([choice([False, True, True]) for _ in scores])
    q = min(q, int(among.sum()))

    def kept(population: Population) -> Array:
        own = (torch.from_numpy(parts(array, population)) for array in (scores, keys, among))
        score, key, some = own
        return draws.top_q(score, q, key, some, over=population).numpy()

    whole, found = whole_and_shards(count, kept)
    assert whole.sum() == q
    for shard, mask in enumerate(found):
        assert np.array_equal(mask, whole[shard::count])


@quickly
@given(floats(np.float64), COUNTS, st.floats(0, 1))
def test_so_many_with_the_smallest_keys_of_shards_are_those_of_all(
    keys: Array, count: int, share: float
) -> None:
    among = np.arange(len(keys)) % 3 != 1
    for num in {0, round(share * among.sum()), 1, int(among.sum())}:

        def kept(population: Population, num: int = num) -> Array:
            own = [torch.from_numpy(parts(array, population)) for array in (among, keys)]
            return draws.exact_count(own[0], num, own[1], over=population).numpy()

        whole, found = whole_and_shards(count, kept)
        assert whole.sum() == num
        for shard, mask in enumerate(found):
            assert np.array_equal(mask, whole[shard::count])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("budget", [0.5, 1.0, 7.3, 20.0, 60.9, 61.0])
def test_inclusion_probabilities_of_shards_are_those_of_all(count: int, budget: float) -> None:
    random = np.random.default_rng(int(10 * budget))
    importance = random.exponential(size=61) ** 4
    importance[random.random(61) < 0.3] = 0

    def chances(population: Population) -> Array:
        own = torch.from_numpy(parts(importance, population))
        return draws.inclusion_probabilities(own, budget, population).numpy()

    whole, found = whole_and_shards(count, chances)
    for shard, p in enumerate(found):
        np.testing.assert_allclose(p, whole[shard::count], rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 3, 61, 5000])
def test_a_systematic_draw_of_shards_has_the_size_of_one_of_all(count: int, size: int) -> None:
    p = np.random.default_rng(size).random(size)
    p[:-1] *= round(p.sum()) / p.sum() if size > 3 else 1
    p = np.minimum(p, 1)

    def kept(population: Population) -> int:
        own = torch.from_numpy(parts(p, population))
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(1))
        return int(draws.systematic(own, order, 0.3, population).sum())

    found = together(count, lambda population, _: kept(population))
    assert math.floor(p.sum() - 1e-9) <= sum(found) <= math.ceil(p.sum() + 1e-9)


def test_of_all_shards_a_nearly_whole_sum_is_made_whole() -> None:
    p = np.full(30, 0.1)  # 0.1 is not a multiple of any power of 2
    for offset in np.linspace(0, 0.999, 12):

        def kept(population: Population, offset: float = offset) -> int:
            own = torch.from_numpy(parts(p, population))
            return int(draws.systematic(own, torch.arange(len(own)), offset, population).sum())

        assert sum(together(4, lambda population, _, kept=kept: kept(population))) == 3


@quickly
@given(st.integers(1, 200), COUNTS, st.sampled_from([1, 3, None]), st.integers(0, 2**31))
def test_window_means_are_of_all_shards(
    size: int, count: int, window: int | None, seed: int
) -> None:
    random = np.random.default_rng(seed)
    score = (random.exponential(size=size) * 10.0 ** random.integers(-9, 9, size)).astype("f4")
    score[random.random(size) < 0.1] = np.nan
    step = np.sort(random.integers(-1, 9, size)).astype(np.int32)

    def means(population: Population) -> tuple[Array, Array]:
        own = torch.from_numpy(parts(score, population))
        trace = Trace(scores={"loss": own}, step=torch.from_numpy(parts(step, population).copy()))
        return (
            trace.window_mean("loss", window, population).numpy(),
            trace.below_window_mean("loss", window, population).numpy(),
        )

    (whole, below), found = whole_and_shards(count, means)
    for shard, (mean, is_below) in enumerate(found):
        assert np.array_equal(mean, whole[shard::count], equal_nan=True)
        assert np.array_equal(is_below, below[shard::count])
    number = step if window == 1 else step // (window or 100)
    for one in set(number[(step >= 0) & np.isfinite(score)].tolist()):
        members = (number == one) & (step >= 0)
        exact = math.fsum(score[members & np.isfinite(score)].tolist())
        exact /= np.isfinite(score[members]).sum()
        assert whole[members] == pytest.approx(exact, rel=1e-15)


@quickly
@given(st.floats(2.0**-100, 2.0**100, width=32), st.integers(1, 3000), COUNTS)
def test_no_sample_of_a_window_of_equal_scores_is_below_their_mean(
    score: float, size: int, count: int
) -> None:
    # Another window with far larger scores takes nothing from the precision of this one.
    scores = np.append(np.full(size, score), [1e30] * 4).astype(np.float32)
    step = np.append(np.zeros(size), [1] * 4).astype(np.int32)

    def below(population: Population) -> bool:
        own = torch.from_numpy(parts(scores, population))
        trace = Trace(scores={"loss": own}, step=torch.from_numpy(parts(step, population)))
        return bool(trace.below_window_mean("loss", 1, population).any())

    whole, found = whole_and_shards(count, below)
    assert not any([whole, *found])


@pytest.mark.parametrize("scale", [1.0, 1e300, 1e-300])
def test_vectors_of_shards_add_up_whatever_their_scale(scale: float) -> None:
    table = np.random.default_rng(0).exponential(size=(3, 8)) * scale
    lengths = [8, 5, 7]  # a shard may know of fewer steps
    for found in together(
        3, lambda over, end: over.added_floats(table[end.rank, : lengths[end.rank]])
    ):
        for k in range(8):
            here = [row[k] for row, length in zip(table, lengths, strict=True) if k < length]
            assert found[k] == pytest.approx(math.fsum(here), rel=1e-15)


@pytest.mark.parametrize("count", [2, 4])
def test_a_mistake_is_refused_on_every_shard(count: int) -> None:
    importance = torch.ones(9)
    importance[4] = math.nan

    def refused(population: Population) -> bool:
        own = importance[population.shard.index :: count]
        with pytest.raises(ValueError, match="finite"):
            draws.inclusion_probabilities(own, 2.0, population)
        with pytest.raises(ValueError, match="count must be"):
            draws.exact_count(own > 0, 9, torch.rand(len(own)), over=population)
        return True

    assert all(together(count, lambda population, _: refused(population)))
