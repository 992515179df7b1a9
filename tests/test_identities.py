"""The mathematics of each method in numbers: rates, bounds, counts and expectations."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, run, steps
from thresher import InfoBatch, Omission, OrderDP, RandomPruning
from thresher.draws import Draws
from thresher.methods import Method
from thresher.theory.order_weights import order_weights
from thresher.theory.saving import expected_saving
from thresher.theory.smoothing import largest_weight, least_chance


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -------------------------------------------------------------------------------------- InfoBatch


@pytest.mark.parametrize("epochs", [50, 90, 100, 200])
def test_infobatch_prunes_only_the_first_share_delta_of_the_epochs(epochs: int) -> None:
    size = 40
    _, plans = run(InfoBatch(), losses(size, epochs))
    active = math.floor(Fraction(7, 8) * epochs)
    # The first of them has no losses to go by yet.
    assert [len(plan) < size for plan in plans] == [1 <= e < active for e in range(epochs)]
    for plan in [plans[0], *plans[active:]]:
        assert bool((plan.weights == 1).all())


@pytest.mark.parametrize("method", [InfoBatch(), InfoBatch(r=0.9), InfoBatch(prune_ratio=0.3)])
def test_infobatch_weights_add_up_to_all_samples(method: InfoBatch) -> None:
    for size in (2, 3, 61, 500):
        for plan in run(method, losses(size))[1]:
            heavy = plan.weights[plan.weights > 1].tolist()
            # k are kept of the m = n - S + k low ones, and weigh m / k each.
            low = size - len(plan) + len(heavy)
            assert len(set(heavy)) <= 1
            exact = Fraction(low, len(heavy)) if heavy else Fraction(1)
            assert len(plan) - len(heavy) + exact * len(heavy) == size or not heavy
            assert all(weight == torch.tensor(float(exact)).item() for weight in heavy)


def test_infobatch_prunes_only_what_is_strictly_below_the_mean() -> None:
    """In float64: rounded to float32, the second mean would be 1 and nothing below it."""
    for loss, kept in (([0.1] * 3, 3), ([1.0, 1.0, 1 + 2**-23], 2)):
        hand = ByHand(InfoBatch(), torch.zeros(1, 3))
        hand.ledger["loss"].copy_(torch.tensor(loss))
        assert int(hand.select().kept.sum()) == kept


def test_infobatch_saves_r_times_the_low_share() -> None:
    """Of losses that do not change the share φ below the mean is known: 1 - 1/e, nearly."""
    epochs, r = 50, 0.5
    loss = torch.empty(4000).exponential_(generator=seeded(3))
    low = float((loss < loss.double().mean()).double().mean())
    assert low == pytest.approx(1 - math.exp(-1), abs=0.03)
    pruner, _ = run(InfoBatch(r=r), loss.expand(epochs, 4000), batch_size=4000)
    expected = expected_saving(r, low, epochs)
    assert pruner.report().prune_rate == pytest.approx(expected, abs=1 / 4000)


# ---------------------------------------------------------------------------------------- OrderDP


@pytest.mark.parametrize(
    ("rho_s", "rho_q", "q"), [(0.5, 0.6, 30), (0.75, 0.85, 63), (0.8, 0.375, 30), (1.0, 0.01, 1)]
)
def test_orderdp_trains_exactly_q_samples(rho_s: float, rho_q: float, q: int) -> None:
    _, plans = run(OrderDP(rho_s=rho_s, rho_q=rho_q), losses(100))
    assert {len(plan) for plan in plans} == {q}


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_orderdp_trains_the_rounded_share_that_a_ratio_leaves(ratio: float) -> None:
    _, plans = run(OrderDP(prune_ratio=ratio), losses(100))
    assert {len(plan) for plan in plans} == {round((1 - ratio) * 100)}


@pytest.mark.parametrize(("rho_s", "rho_q"), [(0.5, 0.6), (0.8, 0.375), (1.0, 0.5), (0.4, 1.0)])
def test_orderdp_chooses_each_rank_as_often_as_the_theory_says(rho_s: float, rho_q: float) -> None:
    n, draws = 20, 3000
    method = OrderDP(rho_s=rho_s, rho_q=rho_q)
    s, q = method.sizes(n)
    hand = ByHand(method, torch.zeros(1, n))
    hand.ledger["loss"].copy_(torch.arange(n, 0, -1))  # sample i has rank i + 1
    chosen = torch.zeros(n)
    for seed in range(draws):
        hand.draws = lambda epoch, seed=seed: Draws(seed, epoch)
        chosen += hand.select().kept
    expected = order_weights(n, s, q).tolist()
    for share, theory in zip((chosen / draws).tolist(), expected, strict=True):
        error = math.sqrt(theory * (1 - theory) / draws)
        assert abs(share - theory) <= 4.5 * error + 1e-12
    assert chosen[n - (s - q) :].sum() == 0, "the lowest s - q ranks are never trained"


# --------------------------------------------------------------------------------------- Omission


def chances(hand: ByHand) -> Tensor:
    """The inclusion probabilities p, from the weights κ / p."""
    selection = hand.select()
    assert selection.weights is not None
    return selection.certain_weight / selection.weights.double()


def scored(method: Method, scores: Tensor) -> ByHand:
    hand = ByHand(method, torch.zeros(1, len(scores)))
    hand.ledger["score"].copy_(scores)
    return hand


SCORES = torch.rand(300, generator=seeded(6)).pow(6).mul(50)


@pytest.mark.parametrize("kappa", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_omission_chances_meet_the_budget_and_the_papers_bound(kappa: float, alpha: float) -> None:
    p = chances(scored(Omission(kappa=kappa, alpha=alpha), SCORES))
    assert float(p.sum()) == pytest.approx(kappa * len(p), rel=1e-6)
    assert float(p.max()) <= 1 + 1e-6
    if alpha:
        assert float(p.min()) >= least_chance(kappa, alpha) * (1 - 1e-6)
        assert float((kappa / p).max()) <= (1 + 1e-6) * largest_weight(alpha)
    if alpha == 1:
        assert torch.allclose(p, torch.full_like(p, kappa), rtol=1e-6)


@pytest.mark.parametrize("kappa", [0.1, 0.5])
def test_omission_has_no_more_variance_than_uniform_draws(kappa: float) -> None:
    """With exact scores, SCORE_i = g_i², a Bernoulli draw has variance Σ g²(1 - p)/p."""
    p = chances(scored(Omission(kappa=kappa, alpha=0.0, sampling="bernoulli"), SCORES))
    ours = float((SCORES.double() * (1 - p) / p).sum())
    uniform = float((SCORES.double() * (1 - kappa) / kappa).sum())
    assert ours < 0.9 * uniform
    smoothed = chances(scored(Omission(kappa=kappa, sampling="bernoulli"), SCORES))
    assert ours <= float((SCORES.double() * (1 - smoothed) / smoothed).sum()) < uniform


def test_omission_plans_an_exact_number_unless_bernoulli() -> None:
    table = losses(300)
    assert {len(plan) for plan in run(Omission(kappa=0.4), table)[1]} == {120}
    sizes = {len(plan) for plan in run(Omission(kappa=0.4, sampling="bernoulli"), table)[1]}
    assert len(sizes) > 3


def test_omission_without_smoothing_leaves_a_score_of_zero_out() -> None:
    scores = torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 0.0, 1.0])
    selection = scored(Omission(kappa=0.4, alpha=0.0), scores).select()
    assert not bool(selection.kept[scores == 0].any())
    assert selection.weights is not None
    assert bool(selection.weights.isfinite().all())
    # Too few are worth a chance: they are certain, and the rest of the budget is spread.
    many = scored(Omission(kappa=0.8, alpha=0.0), scores)
    assert bool(many.select().kept[scores > 0].all())
    assert float(chances(many).sum()) == pytest.approx(0.8 * 8, rel=1e-6)


def test_omission_scores_norms_of_zero_as_zero() -> None:
    """γ² / den is 0 / 0 until one norm is positive; then it is that norm over the mean."""
    hand = ByHand(Omission(kappa=1.0), torch.zeros(2, 8))
    hand.train(4)
    assert hand.ledger["score"].tolist() == [0.0] * 8
    hand.table[1, 3] = 2.0
    hand.train(8)
    den = 0.01 * (4 / 8) / (1 - 0.99**3)
    assert float(hand.ledger["score"][3]) == pytest.approx(0.1 * 4 / den, rel=1e-5)


def test_omission_first_epoch_is_uniform() -> None:
    p = chances(ByHand(Omission(kappa=0.3), losses(100)))
    assert torch.allclose(p, torch.full_like(p, 0.3), rtol=1e-6)


# ---------------------------------------------------------------------------------- RandomPruning


@pytest.mark.parametrize(("ratio", "parts"), [(0.5, 2), (0.75, 4), (0.9, 10)])
def test_a_cycle_of_random_epochs_is_one_plain_epoch(ratio: float, parts: int) -> None:
    _, plans = run(RandomPruning(prune_ratio=ratio, mode="cycle"), losses(40, 2 * parts))
    for start in (0, parts):
        ids = torch.cat([plan.ids for plan in plans[start : start + parts]])
        assert sorted(ids.tolist()) == list(range(40))
        assert all(bool((plan.weights == 1).all()) for plan in plans)


@pytest.mark.parametrize("ratio", [0.3, 0.37, 0.62])
def test_a_cycle_trains_nobody_twice_before_everybody_once(ratio: float) -> None:
    _, plans = run(RandomPruning(prune_ratio=ratio, mode="cycle"), losses(61))
    visits = torch.zeros(61)
    for plan in plans:
        visits[plan.ids] += 1
        assert float(visits.max() - visits.min()) <= 1


def test_a_cycle_trains_first_what_a_dropped_batch_left_out() -> None:
    hand = ByHand(RandomPruning(prune_ratio=0.5, mode="cycle"), losses(40))
    plan = hand.plan()
    step = steps(len(plan), 6).where(torch.arange(len(plan)) < 18, -1)
    hand.observe(plan, hand.table[0][plan.ids], step)
    untrained = set(range(40)) - set(plan.ids[:18].tolist())
    assert set(hand.train().ids.tolist()) < untrained


def test_fresh_random_epochs_are_independent() -> None:
    """Two halves of 1000 share 250 with standard deviation 7.9."""
    _, plans = run(RandomPruning(), losses(1000))
    for before, after in pairwise(plans):
        shared = len(set(before.ids.tolist()) & set(after.ids.tolist()))
        assert abs(shared - 250) < 4 * 7.9
