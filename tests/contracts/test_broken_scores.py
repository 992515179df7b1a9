"""What unseen and non-finite scores do: kept by thresholds, first by ranks, neutral in Omission."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, steps
from thresher import KAKURENBO, UCB, EpsilonGreedy, InfoBatch, Omission, OrderDP, RePB, SeTa
from thresher.draws import Draws
from thresher.methods import Method
from thresher.plan import Plan

SIZE = 60
BROKEN = torch.arange(SIZE) % 4 == 3
VALUES = [math.nan, math.inf, -math.inf]
UNSCORED = "unscored"

of_every_break = pytest.mark.parametrize("value", [*VALUES, UNSCORED])


def after(method: Method, values: list[Tensor | float | str], seed: int = 0) -> ByHand:
    """A method that has trained one epoch for each value, which the broken quarter had as score."""
    hand = ByHand(method, losses(SIZE), lambda epoch: Draws(seed, epoch))
    for number, value in enumerate(values):
        plan = hand.plan()
        scores, step = hand.table[number].clone(), steps(len(plan))
        if value == UNSCORED:
            step = step.where(~BROKEN[plan.ids], -1)
        else:
            scores[BROKEN] = value  # type: ignore[assignment]
        hand.observe(plan, scores[plan.ids], step)
    return hand


def everyone(hand: ByHand) -> Plan:
    """A plan of all samples, as a warm-up makes it."""
    return Plan(
        epoch=hand.number, ids=torch.arange(SIZE), weights=torch.ones(SIZE), num_samples=SIZE
    )


@of_every_break
@pytest.mark.parametrize(
    "method",
    [
        InfoBatch(r=0.99),
        RePB(rho=1.0),
        RePB(rho=1.0, window=None),
        SeTa(r=0.0, k=2, window=1),
        KAKURENBO(max_fraction=0.9, tau=0.0),
    ],
    ids=repr,
)
def test_threshold_rules_keep_what_has_no_score(method: Method, value: float | str) -> None:
    for seed in range(5):
        selection = after(method, [value], seed).select()
        assert bool(selection.kept[BROKEN].all())
        assert not bool(selection.kept.all()), "the rule prunes nothing, so this says nothing"
        assert selection.weights is None or bool((selection.weights[BROKEN] == 1).all())


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "method",
    [
        InfoBatch(r=0.99),
        OrderDP(rho_s=1.0),
        SeTa(r=0.0, k=2, window=1),
        KAKURENBO(max_fraction=0.9, tau=0.0),
        EpsilonGreedy(epsilon=0.0),
        UCB(),
    ],
    ids=repr,
)
def test_a_stored_score_does_not_outlive_a_broken_one(method: Method, value: float) -> None:
    hand = after(method, [])
    for score in (1e-3, value):
        plan = everyone(hand)
        hand.observe(plan, hand.table[0].masked_fill(BROKEN, score)[plan.ids], steps(SIZE))
    column = next(iter(hand.ledger.columns))
    assert bool(hand.ledger[column][BROKEN].isnan().all())
    assert bool(hand.select().kept[BROKEN].all())


@of_every_break
@pytest.mark.parametrize(
    "method",
    [OrderDP(rho_s=1.0, rho_q=0.3), EpsilonGreedy(kappa=0.3, epsilon=0.0), UCB(kappa=0.3)],
    ids=repr,
)
def test_rules_of_fixed_size_rank_what_has_no_score_first(
    method: Method, value: float | str
) -> None:
    hand = ByHand(method, losses(SIZE))
    plan = everyone(hand)
    scores, step = hand.table[0].clone(), steps(SIZE)
    if value == UNSCORED:
        step = step.where(~BROKEN[plan.ids], -1)
    else:
        scores[BROKEN] = value  # type: ignore[call-overload]
    hand.observe(plan, scores[plan.ids], step)
    for _ in range(3):
        kept = hand.select().kept
        assert bool(kept[BROKEN].all())
        finite = hand.table[0].masked_fill(BROKEN, -1)
        left = 18 - int(BROKEN.sum())
        assert set(kept.nonzero()[:, 0].tolist()) == {
            *BROKEN.nonzero()[:, 0].tolist(),
            *finite.topk(left).indices.tolist(),
        }


def chances(hand: ByHand) -> Tensor:
    """Omission's inclusion probabilities, from the weights κ / p."""
    selection = hand.select()
    assert selection.weights is not None
    return selection.certain_weight / selection.weights.double()


@of_every_break
def test_omission_takes_what_has_no_score_for_average(value: float | str) -> None:
    hand = after(Omission(kappa=1.0), [value])
    assert bool(hand.ledger["score"][BROKEN].isnan().all())
    half = ByHand(Omission(kappa=0.2), hand.table)
    half.ledger = hand.ledger
    neutral = ByHand(Omission(kappa=0.2), hand.table)
    neutral.ledger.columns["score"] = hand.ledger["score"].nan_to_num(nan=1.0)
    assert torch.equal(chances(half), chances(neutral))
    score = neutral.ledger["score"].double()
    importance = (0.9 * score + 0.1 * score.mean()).sqrt()
    probability = importance / importance.sum() * 0.2 * SIZE
    assert float(probability.max()) < 1
    assert torch.allclose(chances(half), probability, rtol=1e-6)


@pytest.mark.parametrize("value", VALUES)
def test_omission_forgets_the_score_of_a_sample_whose_norm_breaks(value: float) -> None:
    once, twice = after(Omission(kappa=1.0), [2.0]), after(Omission(kappa=1.0), [2.0, value])
    assert bool(once.ledger["score"].isfinite().all())
    assert bool(twice.ledger["score"][BROKEN].isnan().all())
    assert bool(twice.ledger["score"][~BROKEN].isfinite().all())
    assert all(math.isfinite(number) for number in twice.ledger.scalars.values())


@pytest.mark.parametrize("value", VALUES)
def test_omission_starts_a_broken_sample_anew(value: float) -> None:
    """Its next norm sets its score; it is not averaged with what came before."""
    hand = after(Omission(kappa=1.0), [2.0, value])
    fresh = after(Omission(kappa=1.0), [UNSCORED, UNSCORED])
    for each in (hand, fresh):
        each.ledger.scalars.update(den=0.5, den_decay=0.5)
        each.train()
    assert torch.equal(hand.ledger["score"][BROKEN], fresh.ledger["score"][BROKEN])


def test_windows_leave_broken_scores_out_of_their_mean() -> None:
    """One infinite loss must not put everybody else below the mean."""
    hand = ByHand(RePB(rho=1.0), torch.tensor([[1.0, 2.0, 3.0, math.inf]]))
    plan = hand.plan()
    hand.observe(plan, hand.table[0][plan.ids], steps(4))
    assert hand.select().kept.tolist() == [False, True, True, True]


def test_infobatch_leaves_unseen_samples_out_of_its_mean() -> None:
    hand = ByHand(InfoBatch(r=0.5), torch.zeros(1, 6))
    nan = math.nan
    hand.ledger["loss"].copy_(torch.tensor([6.0, 6.9, 7.0, 7.1, nan, nan]))
    selection = hand.select()
    # The mean is 6.75: one easy sample, which stays as it cannot stand for another.
    assert selection.kept.tolist() == [True] * 6
    assert selection.weights is not None
    assert selection.weights.tolist() == [1.0] * 6
