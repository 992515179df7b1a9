"""Overlap of successive selections, and how evenly samples are visited."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from contracts.drive import losses, run
from thresher import Full, OrderDP, Plan, RandomPruning, RePB
from thresher.diagnostics import Visits, overlap, visits
from thresher.errors import SettingError

SIZE = 30
selections = st.lists(st.sets(st.integers(0, SIZE - 1), min_size=1), min_size=3, max_size=8)


def plan_of(ids: set[int], epoch: int = 0, size: int = SIZE) -> Plan:
    ordered = torch.tensor(sorted(ids, key=lambda i: -i), dtype=torch.int64)
    return Plan(epoch=epoch, ids=ordered, weights=torch.ones(len(ids)), num_samples=size)


@given(selections)
def test_jaccard_is_intersection_over_union(chosen: list[set[int]]) -> None:
    found = overlap([plan_of(ids) for ids in chosen])
    by_hand = [len(a & b) / len(a | b) for a, b in pairwise(chosen)]
    assert found.jaccard.tolist() == pytest.approx(by_hand)
    assert ((found.by_chance > 0) & (found.by_chance <= 1)).all()


def test_random_selections_overlap_as_much_as_chance_says() -> None:
    _, plans = run(RandomPruning(prune_ratio=0.7), losses(2000, 40))
    found = overlap(plans)
    assert abs(found.mean.value - float(found.by_chance.mean())) < 4 * found.mean.error
    assert found.mean.value == pytest.approx(0.3 / 1.7, abs=0.01)
    assert "by chance" in str(found)


def test_the_same_samples_overlap_whole_and_a_cycle_not_at_all() -> None:
    assert overlap(run(Full(), losses(50))[1]).mean.value == 1.0
    _, plans = run(RandomPruning(prune_ratio=0.75, mode="cycle"), losses(40))
    assert overlap(plans[:4]).mean.value == 0.0


def test_one_pair_says_nothing_of_its_error() -> None:
    with pytest.raises(SettingError, match="three or more"):
        overlap([plan_of({1}), plan_of({2})])


# ----------------------------------------------------------------------------------------- visits


def pairwise_gini(counts: Tensor) -> float:
    """Mean absolute difference of all pairs over twice the mean."""
    values = counts.double()
    mean = float(values.mean())
    return float((values[:, None] - values).abs().mean()) / (2 * mean) if mean else 0.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_gini_is_the_mean_difference_of_pairs(counts: list[int]) -> None:
    found = Visits(counts=torch.tensor(counts), epochs=50)
    assert found.gini == pytest.approx(pairwise_gini(found.counts), abs=1e-12)


@given(selections, st.integers(0, 8))
def test_visits_count_every_plan(chosen: list[set[int]], least: int) -> None:
    found = visits(plan_of(ids) for ids in chosen)
    by_hand = [sum(i in ids for ids in chosen) for i in range(SIZE)]
    assert found.counts.tolist() == by_hand
    assert found.epochs == len(chosen)
    assert found.mean == pytest.approx(sum(map(len, chosen)) / SIZE)
    assert found.share_below(least) == pytest.approx(np.mean([c < least for c in by_hand]))


def test_quantiles_go_from_the_least_to_the_most() -> None:
    found = Visits(counts=torch.arange(101), epochs=101)
    assert found.quantiles() == pytest.approx([0, 5, 50, 95, 100])
    assert str(found).startswith("50.0 visits a sample in 101 epochs (5 % 5, median 50, 95 % 95;")
    assert "24.8% with less than half of the mean" in str(found)


def test_stale_ranks_starve_samples_that_repb_would_bring_back() -> None:
    """OrderDP's top of stored losses visits few samples often; RePB visits everybody."""
    table = losses(1000, 40)
    starved = {
        kind.__name__: visits(run(kind(prune_ratio=0.5), table, batch_size=50)[1])
        for kind in (OrderDP, RePB, RandomPruning)
    }
    assert starved["OrderDP"].gini > 2 * starved["RandomPruning"].gini
    assert starved["OrderDP"].share_below(10) > 0.05
    assert starved["RandomPruning"].share_below(10) < 0.005
    assert starved["RePB"].share_below(10) < starved["OrderDP"].share_below(10)


def test_no_plans_are_refused() -> None:
    with pytest.raises(SettingError, match="one plan an epoch"):
        visits([])
