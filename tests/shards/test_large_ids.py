"""Ids beyond float32 (2²⁴) and int32 (2³¹): samples are who they are all the same."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from contracts.drive import losses, named, steps
from contracts.found import short
from shards.jobs import METHODS
from thresher import KAKURENBO, UCB, EpsilonGreedy, OrderDP, Plan, Pruner, SeTa
from thresher._arrays import Array
from thresher.diagnostics.redraw import ledger_of
from thresher.draws import inclusion_probabilities, systematic
from thresher.id_batches import IdBatch
from thresher.ledger import Column, Ledger
from thresher.methods import Method
from thresher.parallel.order_statistics import kth_id
from thresher.parallel.sharded import Sharded
from thresher.plan import Trace
from thresher.planning import Planner
from thresher.population import EVERYONE, Population
from thresher.schedule import Budget
from thresher.shard import Shard
from thresher.tagging import TaggedDataset

SAMPLES, SHARDS = 2**33, 2**19
ROWS = SAMPLES // SHARDS
BEYOND_FLOAT32 = 2**24 + 4


@dataclass(frozen=True)
class Alike:
    """The last of many shards that all hold the same: what one says, all say."""

    size: int = SHARDS

    @property
    def rank(self) -> int:
        return self.size - 1

    def all_sum(self, numbers: Array) -> Array:
        return numbers.astype(np.int64) * self.size

    def all_max(self, numbers: Array) -> Array:
        return numbers.astype(np.int64)

    def all_gather(self, numbers: Array) -> Array:
        return np.broadcast_to(numbers.astype(np.int64), (self.size, *numbers.shape))


def trained(method: Method, population: Population, size: int, epochs: int) -> list[Plan]:
    """Plans of a run whose samples score by their row, and what the ledger remembers is checked."""
    rows = population.shard.num_rows(size)
    planner, table = Planner(method=method, seed=0), losses(rows, 12)
    ledger = Ledger(size, method.columns(), method.scalars, population=population)
    budget, visits, plans = Budget(num_samples=size, epochs=12), 0, list[Plan]()
    for number in range(epochs):
        plan = planner.plan(ledger, budget, epoch=number, visits=visits)
        scores = named(method, table[number][plan.rows])
        given_scores = {name: scores[name] for name in method.needs}
        method.observe(ledger, plan, Trace(scores=given_scores, step=steps(len(plan), 64)))
        visits += plan.num_planned
        plans.append(plan)
        if "loss" in ledger.columns:
            assert torch.equal(ledger["loss"][plan.rows], table[number][plan.rows])
    return plans


@given(
    st.integers(1, 2**26).flatmap(
        lambda count: st.tuples(st.integers(0, count - 1), st.just(count))
    ),
    st.integers(2**31, 2**40),
)
def test_rows_of_a_shard_are_the_same_samples_again(of: tuple[int, int], size: int) -> None:
    shard = Shard(*of)
    last = shard.num_rows(size) - 1
    rows = np.array([0, last // 2, last])
    ids = shard.ids(rows)
    assert ids.tolist() == [row * shard.count + shard.index for row in rows.tolist()]
    assert (ids < size).all()
    assert ids[-1] + shard.count >= size
    assert shard.own(ids).all()
    assert np.array_equal(shard.rows(ids), rows)


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_a_method_plans_ids_above_2_to_the_31(method: Method) -> None:
    # SeTa collects a few hundred numbers of every shard, too many of half a million.
    shards = 2**13 if isinstance(method, SeTa) else SHARDS
    size = SAMPLES // 2 if isinstance(method, SeTa) else SAMPLES
    plans = trained(method, Sharded(Alike(shards)), size, 3)
    rows = size // shards
    assert any(0 < len(plan) < rows for plan in plans) or method.needs == ()
    for plan in plans:
        ids = plan.ids
        assert ids.dtype == torch.int64
        assert len(ids.unique()) == len(ids)
        assert bool((ids % shards == shards - 1).all())
        assert 0 <= int(ids.min()) <= int(ids.max()) < size
        assert torch.equal(plan.rows, ids // shards)
        assert plan.num_planned == shards * len(plan)
    assert max(int(plan.ids.max()) for plan in plans) > 2**31


@pytest.mark.parametrize(
    "method",
    [
        EpsilonGreedy(epsilon=0.0, prune_ratio=0.5, warmup_epochs=1),
        UCB(prune_ratio=0.5, warmup_epochs=1),
        KAKURENBO(max_fraction=0.25),
    ],
    ids=short,
)
def test_many_alike_shards_keep_what_one_of_them_would_alone(method: Method) -> None:
    """Thresholds of 2³³ samples are those of 2¹⁴, each of which there is 2¹⁹ times."""
    alone = trained(method, EVERYONE, ROWS, 2)
    assert len(alone[-1]) < 0.9 * ROWS
    for mine, whole in zip(trained(method, Sharded(Alike()), SAMPLES, 2), alone, strict=True):
        differing = set(mine.rows.tolist()) ^ set(whole.ids.tolist())
        # The sample at the threshold ties with its copies, of which some shards keep theirs.
        assert len(differing) <= 1
        assert mine.learning_rate_factor == pytest.approx(whole.learning_rate_factor, rel=1e-4)


@given(st.floats(0.01, 0.99), st.floats(0, 1, exclude_max=True))
@settings(max_examples=8)
def test_chances_of_2_to_the_33_samples_are_as_fine_as_of_few(share: float, offset: float) -> None:
    importance = torch.from_numpy(np.random.default_rng(0).lognormal(size=ROWS))
    importance[0], over = 0.0, Sharded(Alike())
    chance = inclusion_probabilities(importance, share * SAMPLES, over)
    alone = inclusion_probabilities(importance, share * ROWS)
    torch.testing.assert_close(chance, alone, rtol=1e-12, atol=0)
    kept = systematic(chance, torch.arange(ROWS), offset, over)
    assert abs(int(kept.sum()) - share * ROWS) <= 1 + ROWS * 2.0**-28
    assert bool(kept[chance == 1].all())
    assert not kept[0]


def plan_of(ids: list[int]) -> Plan:
    return Plan(epoch=0, ids=torch.tensor(ids), weights=torch.ones(len(ids)), num_samples=2**63 - 1)


@given(st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=5, unique=True), st.integers(0, 61))
def test_a_checksum_sees_every_bit_of_an_id(ids: list[int], bit: int) -> None:
    changed = [ids[0] ^ 1 << bit, *ids[1:]]
    assert plan_of(ids).checksum() != plan_of(changed).checksum()
    assert plan_of(ids).checksum() == plan_of(list(ids)).checksum()


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=40, unique=True), st.integers(0, 10**6))
def test_an_id_is_found_by_its_rank_among_ids(ids: list[int], k: int) -> None:
    k %= len(ids)
    bits = max(ids).bit_length()
    assert kth_id(np.array(ids), bits, k, lambda counts: counts) == sorted(ids)[k]


class Endless(Dataset[int]):
    """Samples that are their own ids."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        return index


class Reordering(Endless):
    """Fetches a batch in an order of its own."""

    def __getitems__(self, ids: list[int]) -> list[int]:
        ids.sort()
        return list(ids)


@pytest.mark.parametrize("data", [Endless(), Reordering()], ids=["by sample", "by batch"])
def test_ids_ride_with_their_samples_through_a_worker(data: Endless) -> None:
    asked = np.array([SAMPLES - 1, 2**31, 2**24 + 1, 0])
    request = pickle.loads(pickle.dumps(IdBatch(asked)))
    tag, samples = TaggedDataset(data).__getitems__(request)
    assert tag.ids.dtype == np.int64
    assert tag.ids.tolist() == samples
    assert sorted(samples) == sorted(asked.tolist())


def test_sums_and_counts_do_not_stop_at_2_to_the_24() -> None:
    ledger = Ledger(BEYOND_FLOAT32 - 1, [Column("loss", torch.float32, 1.0)])
    assert ledger.sum(ledger["loss"]) == ledger.count(ledger["loss"] > 0) == BEYOND_FLOAT32 - 1
    assert ledger.mean(ledger["loss"]) == 1.0


def test_a_run_keeps_the_samples_beyond_2_to_the_24() -> None:
    """Of equal losses those of the last four stand out, so that the rule keeps them."""
    size, last = BEYOND_FLOAT32, torch.arange(BEYOND_FLOAT32 - 4, BEYOND_FLOAT32)
    method = OrderDP(rho_s=1.0, rho_q=0.5, warmup_epochs=1)
    pruner = Pruner(method, epochs=9, num_samples=size)
    plan = pruner.plan(0)
    assert int(plan.ids.max()) == size - 1
    loss = torch.ones(size)
    loss[last] = torch.tensor([2.0, 3.0, 4.0, 5.0])
    pruner.observe(plan.ids, loss[plan.ids])
    with pytest.raises(AssertionError):  # what a float32 id would have made of them
        assert torch.equal(last.float().long(), last)
    coming = pruner.plan(1)
    assert torch.equal(ledger_of(pruner)["loss"], loss)
    kept = torch.zeros(size, dtype=torch.bool)
    kept[coming.ids] = True
    assert bool(kept[last].all())
    assert len(coming) < 0.6 * size
    pruner.reduce(torch.tensor([7.0, 8.0]), ids=coming.ids[-2:])
