"""KAKURENBO in numbers: whom it may hide, what comes back, and what the learning rate becomes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from contracts.drive import ByHand, losses, named, run
from thresher import KAKURENBO, Plan, Pruner
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.plan import Selection

MANY = settings(max_examples=60, deadline=None)


def told(method: KAKURENBO, scores: dict[str, list[float]], number: int = 1) -> ByHand:
    """A method that has seen these scores, about to plan an epoch."""
    size = len(scores["loss"])
    hand = ByHand(method, torch.zeros(1, size), lambda epoch: Draws(3, epoch))
    method.observe_refreshed(
        hand.ledger, torch.arange(size), {name: torch.tensor(s) for name, s in scores.items()}
    )
    hand.number = number
    return hand


def hidden(selection: Selection) -> set[int]:
    return set((~selection.kept).nonzero()[:, 0].tolist())


number = st.floats(0, 1, width=32)
sample = st.tuples(st.one_of(number, st.sampled_from([0.0, math.nan])), st.booleans(), number)


@MANY
@given(
    st.lists(sample, min_size=1, max_size=40),
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.one_of(st.none(), st.floats(0, 0.95)),
)
def test_only_the_easiest_that_are_right_and_sure_are_hidden(
    samples: list[tuple[float, bool, float]], fraction: float, tau: float, target: float | None
) -> None:
    loss, correct, sure = ([float(each[k]) for each in samples] for k in range(3))
    hand = told(
        KAKURENBO(max_fraction=fraction, tau=tau),
        {"loss": loss, "correct": correct, "confidence": sure},
    )
    hand.target = target
    selection = hand.select()
    out, n = hidden(selection), len(samples)
    tau32 = float(torch.tensor(tau))
    may = {i for i in range(n) if correct[i] and sure[i] >= tau32 and not math.isnan(loss[i])}
    assert out <= may
    if target is None:
        lowest = math.floor(fraction * n + 1e-9)
        ranked = sorted(x for x in loss if not math.isnan(x))[:lowest]
        assert len(out) <= lowest
        # Whoever is below the K-th loss and may be hidden is; at the K-th a draw decides.
        assert {i for i in may if ranked and loss[i] < ranked[-1]} <= out
        assert all(loss[i] <= ranked[-1] for i in out)
        assert selection.learning_rate_factor == pytest.approx(1 / (1 - fraction))
    else:
        assert len(out) == min(round(target * n), len(may), n - 1)
        worst = max((loss[i] for i in out), default=-1.0)
        assert all(loss[i] >= worst for i in may - out)
        assert selection.learning_rate_factor == pytest.approx(n / (n - len(out)))


def test_the_first_epoch_hides_nobody() -> None:
    hand = ByHand(KAKURENBO(), losses(50))
    assert bool(hand.select().kept.all())
    _, plans = run(KAKURENBO(), losses(50))
    assert len(plans[0]) == 50
    assert plans[0].learning_rate_factor == 1, "no learning rate is raised in the warm-up"
    assert len(plans[1]) < 50


def test_what_is_wrong_or_unsure_moves_back_and_nobody_takes_its_place() -> None:
    scores = {
        "loss": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "correct": [1.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        "confidence": [0.9, 0.9, 0.5, 0.7, 0.9, 0.9],
    }
    assert hidden(told(KAKURENBO(max_fraction=0.67), scores).select()) == {0, 3}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_somebody_is_always_trained(size: int) -> None:
    """And the learning rate stays finite: of one sample that is right and sure, 0.9 is all."""
    hand = told(KAKURENBO(), {name: [1.0] * size for name in KAKURENBO.needs})
    hand.target = 0.9
    selection = hand.select()
    assert int(selection.kept.sum()) == 1
    assert selection.learning_rate_factor == pytest.approx(size)


def test_equal_losses_are_hidden_by_lot() -> None:
    """Many losses of a trained model are exactly 0: hiding by position would starve some."""
    scores = {"loss": [0.0] * 10, "correct": [1.0] * 10, "confidence": [1.0] * 10}
    hand = told(KAKURENBO(max_fraction=0.3), scores)
    counts = torch.zeros(10)
    for seed in range(500):
        hand.draws = lambda epoch, seed=seed: Draws(seed, epoch)
        out = ~hand.select().kept
        assert int(out.sum()) == 3
        counts += out
    assert bool(((counts / 500 - 0.3).abs() < 4.5 * math.sqrt(0.21 / 500)).all())


# ------------------------------------------------------------------------------- the learning rate


@pytest.mark.parametrize(
    ("epoch", "multiplier"),
    [(1, 1), (59, 1), (60, 0.8), (119, 0.8), (120, 0.6), (160, 0.4), (199, 0.4)],
)
def test_the_largest_fraction_falls_at_the_milestones(epoch: int, multiplier: float) -> None:
    n = 100
    scores = {"loss": [0.0] * n, "correct": [1.0] * n, "confidence": [1.0] * n}
    for lr_fraction in ("max", "actual"):
        method = KAKURENBO(lr_fraction=lr_fraction)  # type: ignore[arg-type]
        selection = told(method, scores, epoch).select()
        assert len(hidden(selection)) == math.floor(0.3 * multiplier * n + 1e-9)
        assert selection.learning_rate_factor == pytest.approx(1 / (1 - 0.3 * multiplier))


def test_the_factor_is_of_the_largest_fraction_or_of_the_hidden_one() -> None:
    scores = {
        "loss": [0.1, 0.2, 0.3, 0.4],
        "correct": [1.0, 0.0, 0.0, 0.0],
        "confidence": [1.0] * 4,
    }
    factors = {
        choice: told(KAKURENBO(max_fraction=0.5, lr_fraction=choice), scores)  # type: ignore[arg-type]
        .select()
        .learning_rate_factor
        for choice in ("max", "actual")
    }
    assert factors == {"max": pytest.approx(2.0), "actual": pytest.approx(4 / 3)}


def test_the_optimizer_runs_at_the_raised_rate_and_back() -> None:
    """From the first hiding epoch on 1 / (1 - F) of the designed rate, never compounded."""
    table, parameter = losses(40, 6), torch.nn.Parameter(torch.zeros(1))
    optimizer = SGD([parameter], lr=0.1)
    pruner = Pruner(KAKURENBO(max_fraction=0.5, milestones=((3, 0.5),)), epochs=6, num_samples=40)
    scheduler = pruner.pace(LambdaLR(optimizer, lambda epoch: 1.0), per="epoch")
    rates = []
    for epoch in range(6):
        plan = pruner.plan(epoch)
        pruner.observe(plan.ids, named(pruner.method, table[epoch][plan.ids]))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.2, 0.2, 0.4 / 3, 0.4 / 3, 0.4 / 3])


# ----------------------------------------------------------------------------------- another look


def look(hand: ByHand, plan: Plan, loss: float, correct: float, confidence: float) -> Tensor:
    ids = hand.method.refreshed(hand.ledger, plan)
    assert ids is not None
    scores = {"loss": loss, "correct": correct, "confidence": confidence}
    hand.method.observe_refreshed(
        hand.ledger, ids, {name: torch.full((len(ids),), value) for name, value in scores.items()}
    )
    return ids


def test_exactly_the_hidden_samples_are_looked_at_again() -> None:
    hand = ByHand(KAKURENBO(), losses(60))
    for _ in range(5):
        plan = hand.plan()
        out = set(range(60)) - set(plan.ids.tolist())
        ids = hand.method.refreshed(hand.ledger, plan)
        assert (set() if ids is None else set(ids.tolist())) == out
        hand.train()
    assert out, "nobody was hidden, so this says nothing"


@pytest.mark.parametrize(
    "seen", [(5.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.1), (math.nan,) * 3]
)
def test_who_is_hidden_comes_back_when_the_model_forgets_it(seen: tuple[float, ...]) -> None:
    """Its loss rises, its prediction turns wrong or unsure, or it has none."""
    scores = {"loss": [0.1, 0.2, 2.0, 3.0], "correct": [1.0] * 4, "confidence": [0.9] * 4}
    hand = told(KAKURENBO(max_fraction=0.5), scores)
    plan = hand.plan()
    assert sorted(plan.ids.tolist()) == [2, 3]
    assert sorted(look(hand, plan, *seen).tolist()) == [0, 1]
    assert {0, 1} <= set(hand.plan().ids.tolist())


def test_without_another_look_who_is_hidden_stays_until_others_are_easier() -> None:
    scores = {"loss": [0.1, 0.2, 2.0, 3.0], "correct": [1.0] * 4, "confidence": [0.9] * 4}
    hand = told(KAKURENBO(max_fraction=0.5), scores)
    for loss, expected in ((1.0, {0, 1}), (0.5, {0, 1}), (0.01, {2, 3})):
        assert hidden(hand.select()) == {0, 1}
        plan = hand.plan()
        ids = plan.ids
        shown = {"loss": loss, "correct": 1.0, "confidence": 0.9}
        hand.method.observe_refreshed(
            hand.ledger,
            ids,
            {name: torch.full((len(ids),), value) for name, value in shown.items()},
        )
        assert hidden(hand.select()) == expected


def test_settings_that_no_run_can_use_are_refused() -> None:
    for milestones in (((5, 0.5), (3, 0.4)), ((5, 0.5), (5, 0.4)), ((5, 1.5),), ((5, -0.1),)):
        with pytest.raises(SettingError, match=r"KAKURENBO\(milestones=.*ascending epochs"):
            KAKURENBO(milestones=milestones)
    for bad in ({"max_fraction": 1.0}, {"tau": 1.1}, {"lr_fraction": "mean"}):
        with pytest.raises(SettingError, match="KAKURENBO"):
            KAKURENBO(**bad)  # type: ignore[arg-type]
