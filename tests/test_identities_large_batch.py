"""The mathematics inside large batches: budgets, bounds, ranks, counts and expectations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, run
from contracts.test_unbiased import standard_errors_off
from thresher import (
    HistoricalRanking,
    HistoricalReplacement,
    Omission,
    RandomWithinBatch,
)
from thresher.draws import Draws
from thresher.methods import Method
from thresher.plan import Epoch, Selection


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SCORES = torch.rand(310, generator=seeded(6)).pow(6).mul(50)
SIZE = 32
"""Of a large batch: 310 samples are nine, and one of 22."""


def scored(method: Method, scores: Tensor = SCORES, seed: int = 0) -> ByHand:
    hand = ByHand(method, torch.zeros(1, len(scores)), lambda epoch: Draws(seed, epoch))
    if "score" in hand.ledger.columns:
        hand.ledger["score"].copy_(scores)
    return hand


def large_batches(hand: ByHand) -> list[Tensor]:
    epoch = Epoch(number=hand.number, draws=hand.draws(hand.number))
    return list(epoch.order(hand.ledger.everyone).split(SIZE))


def weights(selection: Selection) -> Tensor:
    assert selection.weights is not None
    return selection.weights.double()


def chances(hand: ByHand) -> Tensor:
    """Omission's inclusion probabilities, from the weights κ / p."""
    selection = hand.select()
    return selection.certain_weight / weights(selection)


# --------------------------------------------------------------------------------------- Omission


@pytest.mark.parametrize("kappa", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_omission_meets_budget_and_bound_in_every_large_batch(kappa: float, alpha: float) -> None:
    hand = scored(Omission(kappa=kappa, alpha=alpha, large_batch=SIZE))
    p = chances(hand)
    for ids in large_batches(hand):
        assert float(p[ids].sum()) == pytest.approx(kappa * len(ids), rel=1e-6)
        assert float(p[ids].max()) <= 1 + 1e-6
        # Over all samples instead of those of the batch, the mean of the scores would break this.
        assert float(p[ids].min()) >= kappa * math.sqrt(alpha) * (1 - 1e-6)


@pytest.mark.parametrize(("kappa", "each", "last"), [(0.5, {16}, {11}), (0.3, {9, 10}, {6, 7})])
def test_systematic_omission_has_a_fixed_size_in_every_large_batch(
    kappa: float, each: set[int], last: set[int]
) -> None:
    for seed in range(20):
        hand = scored(Omission(kappa=kappa, large_batch=SIZE), seed=seed)
        kept = hand.select().kept
        assert int(kept.sum()) == round(kappa * 310)
        *whole, partial = [int(kept[ids].sum()) for ids in large_batches(hand)]
        assert set(whole) <= each
        assert partial in last


def test_large_batches_of_omission_lie_next_to_each_other_in_the_plan() -> None:
    hand = scored(Omission(large_batch=SIZE))
    batches = large_batches(hand)
    plan = hand.plan()
    for batch, ids in zip(batches[:9], plan.ids.split(SIZE // 2), strict=False):
        assert set(ids.tolist()) <= set(batch.tolist())


def test_omission_of_one_large_batch_has_the_chances_of_an_epoch() -> None:
    whole = chances(scored(Omission()))
    assert torch.allclose(chances(scored(Omission(large_batch=310))), whole, rtol=1e-6)
    assert torch.allclose(chances(scored(Omission(large_batch=10**6))), whole, rtol=1e-6)


@pytest.mark.parametrize("kappa", [0.1, 0.5])
def test_omission_has_no_more_variance_than_uniform_draws_in_any_large_batch(kappa: float) -> None:
    """With exact scores, SCORE_i = g_i², a Bernoulli draw has variance Σ g²(1 - p)/p."""
    hand = scored(Omission(kappa=kappa, alpha=0.0, sampling="bernoulli", large_batch=SIZE))
    p, squares = chances(hand), SCORES.double()
    for ids in large_batches(hand):
        ours = float((squares[ids] * (1 - p[ids]) / p[ids]).sum())
        assert ours <= float((squares[ids] * (1 - kappa) / kappa).sum()) * (1 + 1e-9)


# --------------------------------------------------------------------------------- claims, measured


@pytest.mark.parametrize(
    "method",
    [
        Omission(large_batch=7, kappa=0.3),
        Omission(large_batch=4, sampling="bernoulli"),
        HistoricalReplacement(large_batch=7),
        HistoricalReplacement(large_batch=5, prune_ratio=0.3),
        RandomWithinBatch(large_batch=4, kappa=0.4),
    ],
    ids=repr,
)
def test_claim_holds_with_small_large_batches_for(method: Method) -> None:
    assert standard_errors_off(method) < 4


# ------------------------------------------------------------------------- historical replacement


@pytest.mark.parametrize("target", [None, 0.3, 0.7])
def test_replacement_counts_every_sample_once_in_expectation(target: float | None) -> None:
    """Σ E[count] w / b = 1: the weights of a large batch average to its share, and so to 1."""
    ratios, draws = [], 400
    for seed in range(draws):
        hand = scored(HistoricalReplacement(large_batch=SIZE), seed=seed)
        hand.target = target
        selection = hand.select()
        total = float(weights(selection).sum()) / selection.certain_weight
        ratios.append(total / len(SCORES))
    mean = torch.tensor(ratios)
    assert abs(float(mean.mean()) - 1) < 4 * float(mean.std()) / math.sqrt(draws)


@pytest.mark.parametrize("target", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_replacement_trains_the_share_that_a_ratio_leaves(target: float, alpha: float) -> None:
    shares = []
    for seed in range(40):
        hand = scored(HistoricalReplacement(large_batch=SIZE, alpha=alpha), seed=seed)
        hand.target = target
        shares.append(int(hand.select().kept.sum()) / len(SCORES))
    kept = torch.tensor(shares)
    # A large batch gives a whole number of draws, which moves its share by less than 1 / B.
    assert abs(float(kept.mean()) - (1 - target)) < 0.5 / SIZE + 4 * float(kept.std()) / 6


def test_replacement_without_a_ratio_draws_b_of_each_large_batch() -> None:
    """Multiplicities are weights over 1 / (B g): as many as draws."""
    hand = scored(HistoricalReplacement(large_batch=SIZE, kappa=0.5, alpha=1.0))
    selection = hand.select()
    # α = 1: g = 1 / B, so that each draw weighs K / κ.
    drawn = weights(selection) * selection.kept * 0.5 / selection.certain_weight
    for ids in large_batches(hand):
        assert float(drawn[ids].sum()) == pytest.approx(len(ids) / 2, rel=1e-5)
    assert torch.allclose(drawn, drawn.round(), atol=1e-5)
    assert float(drawn.max()) > 1, "no sample was drawn twice, so this says nothing"


# ------------------------------------------------------------------------------ historical ranking


@pytest.mark.parametrize("seed", range(3))
def test_ranking_keeps_exactly_half_in_expectation(seed: int) -> None:
    """β = 1: the mid-ranks u = (r + ½) / B add up to B / 2, whatever the scores."""
    hand, kept = scored(HistoricalRanking(large_batch=310), seed=seed), torch.zeros(310)
    rank = SCORES.argsort().argsort()
    u = (rank.double() + 0.5) / 310
    assert float(u.sum()) == pytest.approx(155, rel=1e-12)
    draws = 400
    for number in range(draws):
        hand.number = number
        kept += hand.select().kept
    error = (u * (1 - u) / draws).sqrt()
    assert bool(((kept / draws - u).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("kappa", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_ranking_meets_its_share_within_one_percent(size: int, kappa: float) -> None:
    u = (torch.arange(size).double() + 0.5) / size
    assert float(u.pow(1 / kappa - 1).sum()) == pytest.approx(kappa * size, rel=0.01)


def test_ranking_takes_unseen_samples_for_the_highest() -> None:
    scores = SCORES.clone()
    scores[::10] = math.nan
    hand, kept = scored(HistoricalRanking(large_batch=310, kappa=0.2), scores), torch.zeros(310)
    for number in range(200):
        hand.number = number
        kept += hand.select().kept
    # The least of 31 unseen ones has u = .9: kept in .9⁴ of the draws.
    assert float(kept[::10].mean()) > 0.65 * 200
    assert float(kept.mean()) == pytest.approx(0.2 * 200, rel=0.05)


# ----------------------------------------------------------------------------- random within batch


@pytest.mark.parametrize(("kappa", "each", "last"), [(0.5, {16}, {11}), (0.3, {9, 10}, {6, 7})])
def test_random_takes_its_share_of_every_large_batch(
    kappa: float, each: set[int], last: set[int]
) -> None:
    for seed in range(20):
        hand = scored(RandomWithinBatch(kappa=kappa, large_batch=SIZE), seed=seed)
        kept = hand.select().kept
        assert int(kept.sum()) == round(kappa * 310)
        *whole, partial = [int(kept[ids].sum()) for ids in large_batches(hand)]
        assert set(whole) <= each
        assert partial in last


@pytest.mark.parametrize("shuffled", [True, False])
def test_random_keeps_everybody_equally_often(shuffled: bool) -> None:
    """Also in the order of the ids, where a sample is always in the same large batch."""
    method, draws = RandomWithinBatch(kappa=0.3, large_batch=8), 3000
    hand, kept = scored(method, torch.zeros(20)), torch.zeros(20)
    for seed in range(draws):
        epoch = Epoch(number=0, draws=Draws(seed, 0), shuffled=shuffled)
        kept += method.select(hand.ledger, epoch).kept
    assert float((kept / draws - 0.3).abs().max()) < 4.5 * math.sqrt(0.3 * 0.7 / draws)


# -------------------------------------------------------------------------------- all large batches

OF_LARGE_BATCHES: list[Callable[..., Method]] = [
    Omission,
    HistoricalRanking,
    HistoricalReplacement,
    RandomWithinBatch,
]


@pytest.mark.parametrize("kind", OF_LARGE_BATCHES, ids=lambda kind: kind.__name__)
def test_a_choice_in_one_large_batch_does_not_depend_on_the_others(kind: Any) -> None:
    """Scores of the other large batches may change: the chosen of this one stay."""
    hand = scored(kind(large_batch=SIZE))
    first, *others = large_batches(hand)
    before = hand.select()
    if "score" in hand.ledger.columns:
        ids = torch.cat(others)
        hand.ledger["score"][ids] = hand.ledger["score"][ids].flip(0) * 3
    after = hand.select()
    assert torch.equal(before.kept[first], after.kept[first])
    if before.weights is not None:
        # K of historical replacement, a factor of all its weights, is of all samples.
        factor = after.certain_weight / before.certain_weight
        assert torch.allclose(weights(before)[first] * factor, weights(after)[first], rtol=1e-6)


@pytest.mark.parametrize("kind", OF_LARGE_BATCHES, ids=lambda kind: kind.__name__)
def test_large_batches_of_no_sample_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="large batch"):
        kind(large_batch=0)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", OF_LARGE_BATCHES, ids=lambda kind: kind.__name__)
def test_a_run_saves_the_ratio_asked_for(kind: Any, ratio: float) -> None:
    pruner, _ = run(kind(prune_ratio=ratio, large_batch=64), losses(2000, 12), batch_size=100)
    assert pruner.report().prune_rate == pytest.approx(ratio, abs=0.01)
