"""Methods taken apart as the papers take them apart: scores, window rules, schedules, clipping."""

from __future__ import annotations

import doctest
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from contracts.drive import EPOCHS, ByHand, epoch_of, losses, run
from contracts.found import CLASSES
from thresher import (
    Full,
    HistoricalReplacement,
    InfoBatch,
    Method,
    Omission,
    OrderDP,
    PersistentImportance,
    Pruner,
    RePB,
)
from thresher.errors import CheckpointError, SettingError
from thresher.ledger import Ledger
from thresher.plan import Plan, Trace
from thresher.planning import Planner
from thresher.schedule import Budget
from thresher.settings import Settings
from thresher.windows import Importance, WindowRule

PAGE = Path(__file__).parent.parent / "docs" / "composition.md"


def test_examples_of_the_page_on_composition_run() -> None:
    found = doctest.testfile(
        str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 15
    assert found.failed == 0


@pytest.mark.parametrize(
    "setting",
    [
        *("RePB(resample=False)", "RePB(window=None, rescale=False)", "RePB(rescale=False)"),
        *("RePB(window=None)", "RePB()", "RandomPruning()", "PersistentImportance()"),
        'RePB(rule=windows.Importance(), score="logit_grad_norm")',
        'RePB(score="logit_grad_norm")',
    ],
)
def test_the_page_has_the_settings_of_a_row(setting: str) -> None:
    assert f"| `{setting}` |" in PAGE.read_text()


# ------------------------------------------------------------------------------------- window rules


@dataclass(frozen=True)
class BelowMean(WindowRule):
    """Equation 1, as a rule: ρ for what is below the mean of its window."""

    def chance(self, scores: Tensor, sizes: Tensor, rho: float) -> Tensor:
        parts = scores.double().split(sizes.tolist())
        return torch.cat([rho * (part < part.mean()) for part in parts]).float()


@pytest.mark.filterwarnings("ignore:.*NaN or infinite:thresher.errors.ThresherWarning")
@pytest.mark.parametrize("window", [1, 3, None])
@pytest.mark.parametrize("setting", [{"rho": 0.6}, {"prune_ratio": 0.5}])
def test_equation_1_as_a_rule_makes_the_plans_of_the_default(
    window: int | None, setting: dict[str, float]
) -> None:
    table = losses(203).masked_fill(losses(203, seed=9) > 4, math.nan)
    plans = [
        run(RePB(window=window, rule=rule, **setting), table)[1] for rule in (None, BelowMean())
    ]
    ours, theirs = ([plan.checksum() for plan in each] for each in plans)
    assert ours == theirs
    assert min(map(len, plans[0])) < 203


@pytest.mark.parametrize("rule", [None, Importance()])
def test_repb_compares_the_score_it_is_told_to(rule: WindowRule | None) -> None:
    table = losses(200)
    by_norm = RePB(rho=0.6, score="logit_grad_norm", rule=rule)
    assert by_norm.needs == ("logit_grad_norm",)
    pruner = Pruner(by_norm, epochs=EPOCHS, num_samples=200)
    other, expected = run(RePB(rho=0.6, rule=rule), table)
    assert other.method.needs == ("loss",)
    for number, plan in enumerate(expected):
        ours = pruner.plan(number)
        assert ours.checksum() == plan.checksum()
        for ids in ours.ids.split(8):
            scores = {"loss": torch.full((len(ids),), 7.0), "logit_grad_norm": table[number][ids]}
            pruner.observe(ids, scores)


sizes_of_windows = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@settings(deadline=None)
@given(sizes_of_windows, st.floats(0.0, 1.0), st.integers(0, 10**6))
def test_importance_keeps_its_share_of_every_window(sizes: list[int], rho: float, s: int) -> None:
    scores = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(s)).exp() - 0.3
    chance = Importance().chance(scores, torch.tensor(sizes), rho)
    assert chance.dtype == torch.float32
    assert bool(((chance >= 0) & (chance <= 1)).all())
    for part, of_part in zip(chance.split(sizes), scores.split(sizes), strict=True):
        assert float(part.sum()) == pytest.approx(rho * len(part), abs=1e-5)
        assert bool((part[of_part.argsort()].diff() <= 1e-6).all()), "a higher score stays rather"


@pytest.mark.parametrize("rule", [Importance(), BelowMean()], ids=repr)
def test_a_window_is_judged_by_itself(rule: WindowRule) -> None:
    """Scores of windows may differ in scale: the model changed between them."""
    scores = torch.tensor([1.0, 5.0, 2.0, 8.0, 1.0, 1.0, 6.0])
    sizes = torch.tensor([3, 4])
    before = rule.chance(scores, sizes, 0.4)
    scores[3:] *= 1000
    assert torch.allclose(rule.chance(scores, sizes, 0.4), before, atol=1e-6)


def test_importance_of_scores_that_are_all_zero_is_uniform() -> None:
    chance = Importance().chance(torch.zeros(4), torch.tensor([4]), 0.3)
    assert torch.allclose(chance, torch.full((4,), 0.3))


@dataclass(frozen=True)
class Broken(WindowRule):
    """Gives one chance to all."""

    value: float

    def chance(self, scores: Tensor, sizes: Tensor, rho: float) -> Tensor:
        return torch.full_like(scores, self.value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_chances_outside_the_unit_interval_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"chances of Broken.* must be in \[0, 1\]"):
        run(RePB(rho=0.5, rule=Broken(value)), losses(20))


def test_importance_without_a_share_to_add_is_refused() -> None:
    with pytest.raises(SettingError, match="epsilon"):
        Importance(epsilon=-1.0)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_importance_in_windows_prunes_rho_of_the_data(rho: float) -> None:
    """Every window loses ρ of itself: f = 1 in P = f ρ / (1 - ρ + f ρ), which is ρ."""
    size, epochs = 4000, 30
    _, plans = run(RePB(rho=rho, rule=Importance()), losses(size, epochs), batch_size=100)
    pruned = [1 - len(plan) / size for plan in plans[1:]]
    assert sum(pruned) / len(pruned) == pytest.approx(rho, rel=0.01)


def test_importance_in_windows_contributes_every_sample_alike_in_the_long_run() -> None:
    """E / N undoes any stationary chance; methods.md §1.6's argument needs no rule."""
    size, epochs = 3000, 45
    hardness = losses(size, 1)[0].expand(epochs, size)
    hand = ByHand(RePB(rho=0.5, rule=Importance()), hardness)
    late = torch.zeros(size, dtype=torch.float64)
    for number in range(epochs):
        plan = hand.train(100)
        if number >= 25:
            late[plan.ids] += plan.weights.double() / (epochs - 25)
    for part in late[hardness[0].argsort()].split(size // 3):
        error = float(part.std()) / math.sqrt(len(part))
        assert abs(float(part.mean()) - 1) < 4 * error + 0.01


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_repb_reaches_a_ratio_with_any_rule(ratio: float) -> None:
    for rule in (Importance(), BelowMean()):
        method = RePB(prune_ratio=ratio, rule=rule)
        pruner, _ = run(method, losses(2000, 12), batch_size=100)
        assert pruner.report().prune_rate == pytest.approx(ratio, abs=0.01)


# --------------------------------------------------------------------- a schedule around any method

HISTORICAL = [kind for kind in CLASSES if kind.follows_prune_ratio]


@pytest.mark.parametrize("kind", HISTORICAL, ids=lambda kind: kind.__name__)
def test_any_method_anneals_and_warms_up(kind: type[Method]) -> None:
    _, plans = run(kind(delta=0.75, warmup_epochs=2), losses(300))
    pruned = [len(plan) < 300 for plan in plans]
    assert pruned[:2] == [False, False]
    assert pruned[9:] == [False] * 3
    assert any(pruned[2:9])
    for plan in [*plans[:2], *plans[9:]]:
        assert bool((plan.weights == 1).all())


@pytest.mark.parametrize("kind", HISTORICAL, ids=lambda kind: kind.__name__)
def test_any_method_saves_its_ratio_around_full_epochs(kind: type[Method]) -> None:
    """To a hundredth where nothing but settings decide; else no more than that."""
    method = kind(prune_ratio=0.3, delta=0.75, warmup_epochs=1)
    pruner, _ = run(method, losses(1500), batch_size=50)
    rate = pruner.report().prune_rate
    assert rate < 0.31
    if method.has_exact_rate or kind in (RePB, HistoricalReplacement):
        assert rate > 0.29


# ------------------------------------------------------------------------------------ max_staleness


def visits(method: OrderDP, size: int = 2000, epochs: int = 60) -> Tensor:
    """How often each sample is trained when its loss is a lasting hardness times noise."""
    table, count = losses(size, epochs, seed=2), torch.zeros(size)
    for plan in run(method, table, batch_size=500)[1]:
        count[plan.ids] += 1
    return count


@pytest.mark.parametrize(("rho_s", "rho_q"), [(0.75, 0.85), (0.5, 0.6), (0.8, 0.375)])
def test_orderdp_starves_samples_unless_it_is_told_not_to(rho_s: float, rho_q: float) -> None:
    without = visits(OrderDP(rho_s=rho_s, rho_q=rho_q))
    with_limit = visits(OrderDP(rho_s=rho_s, rho_q=rho_q, max_staleness=6))
    assert float((without < 6).float().mean()) > 0.05
    # Of 60 epochs at least one in seven, but for the backlog of the first epochs.
    assert float(with_limit.min()) >= 60 // 7 - 1
    assert int(with_limit.sum()) == int(without.sum())


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_loss_grows_older_than_max_staleness(limit: int) -> None:
    """Once everybody was seen: an epoch of q leaves at most q that are due at once."""
    size, method = 600, OrderDP(rho_s=0.8, rho_q=0.8, max_staleness=limit)
    hand = ByHand(method, losses(size, 40))
    for number in range(40):
        plan = hand.train()
        assert len(plan) == 384
        age = hand.ledger["age"]
        if number > 5 + limit:
            assert int(age.max()) <= max(limit, 2)  # 384 + 384 >= 600: two epochs see all
    assert int(age.min()) == 0


def test_the_stalest_come_first_when_more_are_due_than_fit() -> None:
    hand = ByHand(OrderDP(rho_s=0.5, rho_q=0.4, max_staleness=2), torch.rand(1, 10))
    hand.ledger["loss"].copy_(torch.arange(10.0))
    hand.ledger["age"].copy_(torch.tensor([5, 9, 2, 3, 0, 0, 0, 0, 0, 0]))
    assert hand.select().kept.nonzero()[:, 0].tolist() == [0, 1]


def test_an_age_stops_at_the_largest_number_it_can_be() -> None:
    hand = ByHand(OrderDP(rho_s=0.5, rho_q=0.5, max_staleness=10**6), losses(8))
    hand.ledger["age"].fill_(2**15 - 1)
    plan = hand.train()
    absent = torch.ones(8, dtype=torch.bool)
    absent[plan.ids] = False
    assert hand.ledger["age"][absent].unique().tolist() == [2**15 - 1]


# --------------------------------------------------------------------------------------- max_weight


def plans_of(method: Method, **planner: Any) -> list[Plan]:
    """A run's plans by a Planner of one's own."""
    size, visits, made = 200, 0, list[Plan]()
    table, by = losses(size), Planner(method=method, seed=0, **planner)
    ledger, budget = Ledger(size, method.columns(), method.scalars), Budget(num_samples=size)
    for number in range(8):
        plan = by.plan(ledger, budget, epoch=number, visits=visits)
        step = torch.arange(len(plan), dtype=torch.int32) // 8
        scores = dict.fromkeys(method.needs, table[number][plan.ids])
        method.observe(ledger, plan, Trace(scores=scores, step=step))
        visits += len(plan)
        made.append(plan)
    return made


@pytest.mark.parametrize("method", [RePB(rho=0.8), PersistentImportance(kappa=0.3)], ids=repr)
def test_weights_are_clipped_and_the_clipped_are_counted(method: Method) -> None:
    free, bound = plans_of(method), plans_of(method, max_weight=1.5)
    assert max(float(plan.weights.max()) for plan in free) > 1.5
    for plan, other in zip(bound, free, strict=True):
        # The first to differ is of the same ledger, so it is the same choice.
        assert torch.equal(plan.ids, other.ids)
        assert torch.equal(plan.weights, other.weights.clamp(max=1.5))
        assert plan.facts["clipped"] == int((other.weights > 1.5).sum())
        assert "clipped" not in other.facts
    assert sum(plan.facts["clipped"] for plan in bound) > 0


def test_a_step_exponent_scales_what_was_clipped() -> None:
    bound = plans_of(RePB(rho=0.8), max_weight=1.5)
    for plan, own in zip(
        plans_of(RePB(rho=0.8), max_weight=1.5, step_exponent=0.0), bound, strict=True
    ):
        assert float(plan.weights.double().mean()) == pytest.approx(1, rel=1e-6)
        assert torch.allclose(plan.weights, own.weights * plan.scale, rtol=1e-6)
        assert plan.facts["clipped"] == own.facts["clipped"]


@pytest.mark.parametrize("method", [Full(), InfoBatch(), Omission()], ids=repr)
def test_a_bound_that_never_binds_changes_nothing(method: Method) -> None:
    free, bound = plans_of(method), plans_of(method, max_weight=100.0)
    assert [plan.checksum() for plan in free] == [plan.checksum() for plan in bound]
    assert {plan.facts["clipped"] for plan in bound} == {0}


@pytest.mark.parametrize("bad", [0.0, 0.5, math.inf, math.nan])
def test_a_bound_that_no_run_can_use_is_refused(bad: float) -> None:
    with pytest.raises(SettingError, match="max_weight"):
        Settings(epochs=9, max_weight=bad).check(RePB(), num_samples=10)


def test_a_checkpoint_of_another_bound_is_refused() -> None:
    saved = {each.name: getattr(Settings(epochs=9), each.name) for each in fields(Settings)}
    with pytest.raises(CheckpointError, match="max_weight"):
        Settings(epochs=9, max_weight=4.0).require_same(saved, RePB(), repr(RePB()))


def test_a_run_with_a_rule_is_saved_and_continued() -> None:
    method, table = RePB(rho=0.5, rule=Importance(), score="logit_grad_norm"), losses(61)
    pruner, _ = run(method, table, epochs=4)
    other = Pruner(method, epochs=EPOCHS, num_samples=61)
    other.load_state_dict(pruner.state_dict())
    for _ in range(4, EPOCHS):
        assert epoch_of(pruner, table).checksum() == epoch_of(other, table).checksum()
    stranger = Pruner(RePB(rho=0.5), epochs=EPOCHS, num_samples=61)
    with pytest.raises(CheckpointError, match="Importance"):
        stranger.load_state_dict(pruner.state_dict())
