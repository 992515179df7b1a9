"""ε-greedy and UCB in numbers: sizes, averages, and the rules they become at their ends."""

from __future__ import annotations

import math

import pytest
import torch

from contracts.drive import ByHand, losses, run, steps
from thresher import UCB, EpsilonGreedy, RandomPruning
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.methods import Method

both = pytest.mark.parametrize("kind", [EpsilonGreedy, UCB])


@both
@pytest.mark.parametrize("kappa", [0.01, 0.3, 0.5, 0.77, 1.0])
def test_every_epoch_has_exactly_the_share_kappa(kind: type[Method], kappa: float) -> None:
    _, plans = run(kind(kappa=kappa), losses(61))  # type: ignore[call-arg]
    assert {len(plan) for plan in plans} == {max(1, round(kappa * 61))}


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
def test_epsilon_one_is_random_pruning(ratio: float) -> None:
    """The same samples in the same order, not just as many of them."""
    table = losses(100)
    ours = run(EpsilonGreedy(epsilon=1.0, prune_ratio=ratio), table)[1]
    theirs = run(RandomPruning(prune_ratio=ratio), table)[1]
    assert [plan.ids.tolist() for plan in ours] == [plan.ids.tolist() for plan in theirs]


def test_epsilon_zero_and_c_zero_are_the_top_of_the_average() -> None:
    table = losses(100)
    hands = [ByHand(EpsilonGreedy(epsilon=0.0), table), ByHand(UCB(c=0.0), table)]
    for epoch in range(10):
        plans = [hand.plan() for hand in hands]
        assert plans[0].ids.tolist() == plans[1].ids.tolist()
        mean = hands[0].ledger["mean"]
        assert torch.equal(mean.nan_to_num(-1), hands[1].ledger["mean"].nan_to_num(-1))
        unseen = mean.isnan()
        left = 50 - int(unseen.sum())
        if left >= 0:
            top = mean.nan_to_num(-1).topk(left).indices.tolist()
            expected = {*unseen.nonzero()[:, 0].tolist(), *top}
            assert set(plans[0].ids.tolist()) == expected
        else:
            assert epoch == 0
        for hand in hands:
            hand.train()


def test_a_sample_below_the_top_has_the_chance_that_both_descriptions_give_it() -> None:
    """ε k of the n - (1 - ε) k others: kept with ε' = ε κ / F as the Omission paper words it."""
    n, kappa, epsilon, draws = 40, 0.5, 0.4, 2000
    hand = ByHand(EpsilonGreedy(kappa=kappa, epsilon=epsilon), torch.zeros(1, n))
    hand.ledger["mean"].copy_(torch.arange(n))
    counts = torch.zeros(n)
    for seed in range(draws):
        hand.draws = lambda epoch, seed=seed: Draws(seed, epoch)
        counts += hand.select().kept
    surely = round((1 - epsilon) * kappa * n)
    assert bool((counts[-surely:] == draws).all())
    lowest = 1 - (1 - epsilon) * kappa  # F
    chance = epsilon * kappa / lowest  # ε'
    assert chance == pytest.approx(8 / 28)
    assert kappa == pytest.approx(1 - lowest + chance * lowest)
    error = math.sqrt(chance * (1 - chance) / draws)
    assert bool(((counts[:-surely] / draws - chance).abs() < 4.5 * error).all())


def seen(method: Method, values: list[float]) -> ByHand:
    """A method whose one sample was visited with each of these losses."""
    hand = ByHand(method, torch.tensor(values)[:, None])
    for _ in values:
        hand.train()
    return hand


@both
def test_the_average_is_of_all_visits_and_the_first_begins_it(kind: type[Method]) -> None:
    hand = seen(kind(a=0.3), [4.0, 2.0, 7.0])  # type: ignore[call-arg]
    expected = 0.7 * (0.7 * 4 + 0.3 * 2) + 0.3 * 7
    assert hand.ledger["mean"].item() == pytest.approx(expected, rel=1e-6)


def test_the_variance_takes_the_average_from_before_the_visit() -> None:
    hand = seen(UCB(a=0.3), [4.0, 2.0, 7.0])
    first = 0.3 * (2 - 4) ** 2
    second = 0.7 * first + 0.3 * (7 - (0.7 * 4 + 0.3 * 2)) ** 2
    assert hand.ledger["variance"].item() == pytest.approx(second, rel=1e-6)
    assert seen(UCB(), [4.0]).ledger["variance"].item() == 0


def test_a_varying_loss_counts_for_more_with_a_larger_c() -> None:
    for c, kept in ((0.1, [True, False]), (10.0, [False, True])):
        hand = ByHand(UCB(c=c), torch.zeros(1, 2))
        hand.ledger["mean"].copy_(torch.tensor([1.0, 0.9]))
        hand.ledger["variance"].copy_(torch.tensor([0.0, 0.2]))
        assert hand.select().kept.tolist() == kept


def test_a_variance_beyond_float32_is_its_largest_number() -> None:
    hand = seen(UCB(a=1.0), [-3e38, 3e38])
    assert hand.ledger["variance"].item() == torch.finfo(torch.float32).max
    assert hand.ledger["mean"].item() == pytest.approx(3e38)


@both
def test_a_sample_that_is_left_out_keeps_its_average(kind: type[Method]) -> None:
    hand = ByHand(kind(), losses(50))
    hand.train()
    before, plan = hand.ledger.copy(), hand.plan()
    hand.observe(plan, hand.table[1][plan.ids], steps(len(plan)))
    left_out = torch.ones(50, dtype=torch.bool)
    left_out[plan.ids] = False
    for name in hand.ledger.columns:
        old, new = (ledger[name][left_out].nan_to_num(-1) for ledger in (before, hand.ledger))
        assert torch.equal(old, new)


@both
def test_a_choice_is_kept_for_its_period_from_the_warm_up_on(kind: type[Method]) -> None:
    method = kind(period=3, warmup_epochs=2)  # type: ignore[call-arg]
    chosen = [set(plan.ids.tolist()) for plan in run(method, losses(60))[1]]
    assert chosen[0] == chosen[1] == set(range(60))
    for start in (2, 5, 8):
        assert len(chosen[start]) == 30
        assert chosen[start] == chosen[start + 1] == chosen[start + 2]
    assert chosen[2] != chosen[5] != chosen[8]


@both
@pytest.mark.parametrize(
    "bad", [{"kappa": 0.0}, {"kappa": 1.1}, {"a": 0.0}, {"a": 1.5}, {"period": 0}], ids=str
)
def test_settings_that_no_run_can_use_are_refused(
    kind: type[Method], bad: dict[str, float]
) -> None:
    with pytest.raises(SettingError, match=kind.__name__):
        kind(**bad)  # type: ignore[arg-type]


def test_an_infinite_factor_and_a_share_above_one_are_refused() -> None:
    with pytest.raises(SettingError, match=r"UCB\(c=inf\)"):
        UCB(c=math.inf)
    with pytest.raises(SettingError, match=r"EpsilonGreedy\(epsilon=1.2\)"):
        EpsilonGreedy(epsilon=1.2)
