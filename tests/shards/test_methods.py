"""Every method serves shards: the same samples as one process chooses, or the same chances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from contracts.drive import EPOCHS, losses
from contracts.found import CLASSES, METHODS, short
from contracts.laws import require_valid
from shards.runs import BY_SAMPLE, PartOfDraws, Whole, dealt, part, planned, split, united
from shards.together import together
from thresher import (
    Full,
    HistoricalRanking,
    HistoricalReplacement,
    Omission,
    RePB,
    SeTa,
    Subset,
)
from thresher.draws import Draws
from thresher.methods import Method
from thresher.plan import Epoch, Selection
from thresher.planning import Protection
from thresher.population import EVERYONE, Population
from thresher.weights import step_factor

SIZE = 61
EACH = pytest.mark.parametrize("method", METHODS, ids=short)


def table_of(seed: int, size: int = SIZE, epochs: int = 3) -> Tensor:
    """Losses that fall; some broken, some equal."""
    random, table = np.random.default_rng(seed), losses(size, epochs, seed)
    table[:, random.random(size) < 0.1] = torch.nan
    table[random.integers(epochs), random.integers(size)] = torch.inf
    if seed % 2:
        table = table.mul(4).round().div(4)
    return table


@pytest.mark.parametrize("method", BY_SAMPLE, ids=short)
@settings(deadline=None, max_examples=4)
@given(st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_shards_choose_the_samples_that_one_process_chooses(
    method: Method, count: int, seed: int, is_small: bool
) -> None:
    """By the same random numbers for each sample: all samples, weights and facts are equal."""
    size = 1 + seed % 7 if is_small else SIZE
    target = None if method.prune_ratio is None else method.prune_ratio
    whole = Whole(method, table_of(seed, size), target, seed)
    for number, selection in enumerate(whole.selections):
        ledger = whole.ledgers[number]

        def select(population: Population, _: object, number: int = number) -> Selection:
            draws = PartOfDraws(seed, number, 0, shard=population.shard, num_samples=size)
            epoch = Epoch(number=number, draws=draws, target=target)
            return method.select(split(whole.ledgers[number], method, population), epoch)

        found = together(count, select)
        kept = united([each.kept for each in found])
        if kept.any():
            assert torch.equal(kept, selection.kept)
        assert all(each.facts == selection.facts for each in found)
        if selection.weights is not None:
            weights = united([each.weights for each in found if each.weights is not None])
            assert torch.equal(weights[kept], selection.weights[kept])
        assert ledger.num_samples == size


@EACH
@settings(deadline=None, max_examples=3)
@given(st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_shards_remember_what_one_process_remembers(
    method: Method, count: int, seed: int, is_small: bool
) -> None:
    size = 1 + seed % 7 if is_small else SIZE
    whole = Whole(method, table_of(seed, size), method.prune_ratio, seed)
    for number, plan in enumerate(whole.plans):
        after = whole.ledgers[number + 1]

        def remembered(population: Population, _: object, number: int = number) -> bool:
            ledger = split(whole.ledgers[number], method, population)
            method.observe(
                ledger, *dealt(whole.plans[number], whole.traces[number], population.shard)
            )
            assert ledger.scalars == pytest.approx(whole.ledgers[number + 1].scalars, rel=1e-12)
            for name, column in ledger.columns.items():
                expected = part(whole.ledgers[number + 1][name], population.shard)
                if column.is_floating_point():
                    torch.testing.assert_close(column, expected, rtol=1e-6, atol=0, equal_nan=True)
                else:
                    assert torch.equal(column, expected), name
            return True

        assert all(together(count, remembered))
        assert after.num_samples == plan.num_samples


@EACH
def test_plans_of_shards_are_parts_of_one_valid_epoch(method: Method) -> None:
    epochs = 4
    for size, count in ((SIZE, 3), (SIZE, 4), (2, 4), (5, 4)):
        table = table_of(size, size, epochs=EPOCHS)
        alone = planned(method, table, EVERYONE, epochs=epochs)
        found = together(
            count, lambda over, _, table=table: planned(method, table, over, epochs=epochs)
        )
        for number, parts in enumerate(zip(*found, strict=True)):
            ids = torch.cat([plan.ids for plan in parts])
            assert 1 <= len(ids) == len(ids.unique()) <= size
            for index, plan in enumerate(parts):
                assert bool((plan.ids % count == index).all())
                assert plan.sizes == tuple(map(len, parts))
                assert plan.num_planned == len(ids)
                assert plan.facts == parts[0].facts
                assert torch.equal(plan.rows * count + index, plan.ids)
                if len(plan):
                    require_valid(plan, size)
            if has_exact_rate(method):
                # A systematic draw may round a size up or down, each large batch's by itself.
                slack = 0
                if isinstance(method, Omission):
                    slack = 1 if method.large_batch is None else size
                assert abs(len(ids) - len(alone[number])) <= slack


def has_exact_rate(method: Method) -> bool:
    bernoulli = isinstance(method, Omission) and method.sampling == "bernoulli"
    return type(method).has_exact_rate and not bernoulli


# These choose by who else is in a large batch: on a shard, others of that shard.
LOCAL = (HistoricalRanking, HistoricalReplacement)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind not in (Full, Subset, *LOCAL)])
def test_inclusion_rates_of_shards_are_those_of_one_process(kind: type[Method]) -> None:
    """Each of 26 samples: two binomial rates of 200 draws, within 4 standard errors."""
    method, count, size, times = kind(), 3, 26, 200
    table = losses(size, 3, seed=2)
    ledger = Whole(method, table).ledgers[-1]

    def rate(population: Population, _: object = None) -> Tensor:
        own, total = split(ledger, method, population), torch.zeros(0)
        for seed in range(times):
            draws = Draws(seed + times * population.shard.count, 3, population.stream)
            kept = method.select(own, Epoch(number=3, draws=draws)).kept
            total = kept.double() if not seed else total + kept
        return total / times

    alone, found = rate(EVERYONE), united(together(count, rate))
    both = (alone + found) / 2
    error = (2 * both * (1 - both) / times).sqrt()
    off = (alone - found).abs() / error.clamp(min=1e-9)
    off[error == 0] = (alone - found)[error == 0].abs() * 1e9
    assert off.max() <= 4


def test_two_shards_draw_different_numbers() -> None:
    first, second = (Draws(0, 1, rank) for rank in (0, 1))
    assert not torch.equal(first.uniform(8, "selection"), second.uniform(8, "selection"))
    assert first.number("offset") == second.number("offset") == Draws(0, 1).number("offset")


def test_protected_samples_are_in_the_epoch_of_all_shards() -> None:
    labels = torch.arange(SIZE) % 7
    protection = Protection(always_keep=torch.tensor([3, 4, 60]), min_per_class=5, labels=labels)
    for plans in zip(
        *together(
            4,
            lambda over, _: planned(
                RePB(rho=1.0), table_of(4, epochs=EPOCHS), over, epochs=4, protection=protection
            ),
        ),
        strict=True,
    ):
        ids = torch.cat([plan.ids for plan in plans])
        assert {3, 4, 60} <= set(ids.tolist())
        assert labels[ids].bincount(minlength=7).min() >= 5


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
def test_a_step_exponent_sets_the_mean_weight_of_all_shards(exponent: float) -> None:
    def plans(over: Population, _: object) -> list[tuple[Tensor, float]]:
        table = table_of(2, epochs=EPOCHS)
        run = planned(Omission(), table, over, epochs=3, step_exponent=exponent, max_weight=1.5)
        return [(plan.weights, plan.scale) for plan in run]

    for parts in zip(*together(4, plans), strict=True):
        weights = torch.cat([weights for weights, _ in parts]).double()
        assert weights.mean() == pytest.approx((SIZE / len(weights)) ** exponent, rel=1e-6)
        assert len({scale for _, scale in parts}) == 1


def test_a_factor_is_of_the_weights_of_all_shards() -> None:
    weights = [torch.ones(3), torch.full((1,), 5.0), torch.ones(0)]
    found = together(3, lambda over, end: step_factor(weights[end.rank], 16, 1.0, over))
    assert found == [pytest.approx(2.0)] * 3


@pytest.mark.parametrize("count", [2, 4])
def test_groups_of_shards_are_the_groups_of_all(count: int) -> None:
    """SeTa's k-means among more values than can be tried."""
    size = 4001
    table = table_of(6, size, epochs=4)
    method = SeTa(r=0.0, k=5, window=2)
    whole = Whole(method, table)

    def kept(population: Population, _: object) -> list[Tensor]:
        epochs = (Epoch(number=e, draws=Draws(0, e, population.stream)) for e in range(1, 4))
        return [
            method.select(split(whole.ledgers[epoch.number], method, population), epoch).kept
            for epoch in epochs
        ]

    for number, parts in enumerate(zip(*together(count, kept), strict=True), start=1):
        assert torch.equal(united(list(parts)), whole.selections[number].kept)
        assert 0 < whole.selections[number].kept.sum() < size
