"""A window rule judges each window by itself, and RePB works around any of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from contracts.drive import EPOCHS, ByHand, epoch_of, losses, run
from thresher import Pruner, RePB
from thresher.errors import CheckpointError, SettingError
from thresher.windows import Importance, WindowRule


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
