"""Measured bias, variance and direction against what mathematics says they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.drive import losses as made_up
from contracts.drive import named
from thresher import Full, InfoBatch, Omission, OrderDP, Plan, Pruner, RandomPruning, RePB
from thresher.diagnostics import compare_fidelity, gradient_fidelity, ledger_of, redraw
from thresher.diagnostics.fidelity import _measured
from thresher.errors import SettingError
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.theory.order_weights import order_weights
from thresher.theory.surrogate import surrogate_weights

SIZE, DRAWS = 60, 400


def problem() -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A linear model with squared residuals: the model, its data, and its gradients (n, 4)."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(SIZE, 4, generator=generator) + 0.4
    y = torch.randn(SIZE, generator=generator).exp()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 1, bias=False)
    residuals = (model(x)[:, 0] - y).detach()
    return model, x, y, (residuals[:, None] * x).double()


def squares(model: Any, batch: Any) -> Tensor:
    return (model(batch[0])[:, 0] - batch[1]).square() / 2


def state(method: Method) -> Ledger:
    """The ledger after one epoch at these parameters."""
    model, x, y, gradients = problem()
    pruner = Pruner(method, epochs=10, num_samples=SIZE)
    ids = pruner.plan(0).ids
    loss = squares(model, (x, y)).detach()
    norm = gradients.norm(dim=1).float()
    scores = {name: norm if name == "logit_grad_norm" else loss for name in ("loss", *method.needs)}
    pruner.observe(ids, {name: values[ids] for name, values in scores.items()})
    pruner.plan(1)
    return ledger_of(pruner)


def measure(method: Method, target: Tensor | None = None) -> Any:
    model, x, y, _ = problem()
    plans = redraw(method, state(method), epoch=1, draws=DRAWS)
    return gradient_fidelity(model, squares, [(x, y)], plans, target=target)


def test_training_on_everything_is_exact() -> None:
    found = measure(Full())
    assert found.kept == 1.0
    assert found.cosine.value == found.length.value == pytest.approx(1, abs=1e-6)
    assert found.variance.value < 1e-10
    assert found.bias < 1e-5
    assert not found.shows_bias
    assert "bias 0.000, not shown" in str(found)


@pytest.mark.parametrize(
    "method",
    [RandomPruning(), RandomPruning(prune_ratio=0.9), InfoBatch(), Omission(), Omission(kappa=0.2)],
    ids=repr,
)
def test_unbiased_methods_show_no_bias(method: Method) -> None:
    found = measure(method)
    assert abs(found.length.value - 1) < 4 * found.length.error + 1 / SIZE
    assert found.bias_squared.value < 4 * found.bias_squared.error
    assert found.variance.value > 0.001


def test_random_pruning_has_the_variance_of_a_draw_without_replacement() -> None:
    gradients = problem()[3]
    found = measure(RandomPruning(prune_ratio=0.7))
    trained = round(0.3 * SIZE)
    variance = float(gradients.var(0).sum()) * (1 - trained / SIZE) / trained
    expected = variance / float(gradients.mean(0).square().sum())
    assert abs(found.variance.value - expected) < 4 * found.variance.error
    assert found.kept == pytest.approx(0.3)


def test_orderdp_is_biased_for_the_mean_by_what_its_theory_says() -> None:
    method = OrderDP(warmup_epochs=1)
    model, x, y, gradients = problem()
    s, q = method.sizes(SIZE)
    loss = squares(model, (x, y)).detach()
    # The scores are of these very parameters: fresh ranks, for which the theorem holds.
    order = loss.argsort(descending=True)
    off = (order_weights(SIZE, s, q) / q - 1 / SIZE) @ gradients[order]
    expected = float(off.square().sum() / gradients.mean(0).square().sum())
    found = measure(method)
    assert found.shows_bias
    assert abs(found.bias_squared.value - expected) < 4 * found.bias_squared.error
    assert found.bias == pytest.approx(math.sqrt(expected), rel=0.1)


def test_orderdp_is_unbiased_for_its_surrogate() -> None:
    method = OrderDP(warmup_epochs=1)
    model, x, y, _ = problem()
    weights = surrogate_weights(squares(model, (x, y)), *method.sizes(SIZE))
    found = measure(method, target=1e6 * weights)  # only proportions count
    assert found.bias_squared.value < 4 * found.bias_squared.error
    assert abs(found.length.value - 1) < 4 * found.length.error


def test_estimates_cover_the_truth() -> None:
    """Of gradients drawn around a known mean: 95 % intervals of all four, and no bias of b²."""
    generator = torch.Generator().manual_seed(0)
    full = torch.tensor([3.0, 4.0], dtype=torch.float64)
    shift, spread, draws, runs = torch.tensor([1.0, 0.0]).double(), 2.0, 120, 600
    truth = {
        "length": 1 + float(shift @ full) / 25,
        "bias_squared": 1 / 25,
        "variance": 2 * spread**2 / 25,
    }
    noise = spread * torch.randn(runs, draws, 2, generator=generator, dtype=torch.float64)
    found = [_measured(full + shift + each, full, kept=1.0) for each in noise]
    for name, value in truth.items():
        estimates = [getattr(each, name) for each in found]
        values = torch.tensor([each.value for each in estimates])
        off = float(values.mean()) - value
        assert abs(off) < 4 * float(values.std()) / math.sqrt(runs)
        covered = sum(each.low <= value <= each.high for each in estimates) / runs
        assert 0.90 < covered < 0.99, name
        typical = float(torch.tensor([each.error for each in estimates]).mean())
        assert typical == pytest.approx(float(values.std()), rel=0.15)


def test_no_bias_is_rarely_called_one() -> None:
    generator = torch.Generator().manual_seed(1)
    full = torch.tensor([3.0, 4.0], dtype=torch.float64)
    noise = torch.randn(400, 30, 2, generator=generator, dtype=torch.float64)
    shown = sum(_measured(full + each, full, kept=1.0).shows_bias for each in noise)
    assert shown / 400 < 0.08


def test_several_methods_are_measured_in_one_pass() -> None:
    model, x, y, _ = problem()
    methods = {"random": RandomPruning(), "repb": RePB(), "orderdp": OrderDP()}
    plans = {name: redraw(m, state(m), epoch=1, draws=9) for name, m in methods.items()}
    passes: list[int] = []

    def batches() -> Any:
        passes.append(1)
        yield from zip(x.split(16), y.split(16), strict=True)

    together = compare_fidelity(model, squares, batches(), plans)
    assert passes == [1]
    for name, drawn in plans.items():
        alone = gradient_fidelity(model, squares, [(x, y)], drawn)
        assert alone.draws == 9
        assert alone.cosine.value == pytest.approx(together[name].cosine.value, rel=1e-5)
        assert alone.variance.value == pytest.approx(together[name].variance.value, rel=1e-4)


# ----------------------------------------------------------------------------------------- redraw


def test_redrawn_plans_differ_in_nothing_but_their_seed() -> None:
    method = InfoBatch()
    ledger = state(method)
    before = ledger.state_dict()
    plans = redraw(method, ledger, epoch=4, draws=5, seed=3)
    again = redraw(method, ledger, epoch=4, draws=5, seed=3)
    assert [plan.checksum() for plan in plans] == [plan.checksum() for plan in again]
    assert len({plan.checksum() for plan in plans}) == 5
    assert {plan.epoch for plan in plans} == {4}
    assert torch.equal(ledger["loss"], before["columns"]["loss"])


def test_redrawn_weights_have_mean_one_unless_the_papers_are_wanted() -> None:
    ledger = state(InfoBatch())
    for plan in redraw(InfoBatch(), ledger, epoch=1, draws=3):
        assert float(plan.weights.mean()) == pytest.approx(1)
    for plan in redraw(InfoBatch(), ledger, epoch=1, draws=3, step_exponent=None):
        assert float(plan.weights.sum()) == pytest.approx(SIZE)


def test_ledger_of_a_pruner_is_a_copy() -> None:
    table = made_up(20)
    pruner = Pruner(RePB(), epochs=9, num_samples=20)
    for _ in range(3):
        plan = pruner.plan(pruner.epoch)
        pruner.observe(plan.ids, named(pruner.method, table[plan.epoch][plan.ids]))
    planned = pruner.plan(3)
    ledger = ledger_of(pruner)
    (drawn,) = redraw(RePB(), ledger, epoch=3, draws=1, step_exponent=None)
    assert drawn.checksum() == planned.checksum()
    ledger["count"].zero_()
    assert int(ledger_of(pruner)["count"].sum()) > 0


# --------------------------------------------------------------------------------------- refusals


def test_too_few_draws_and_other_targets_are_refused() -> None:
    model, x, y, _ = problem()
    plans = redraw(RandomPruning(), Ledger(SIZE), epoch=1, draws=3)
    for few in ([], plans[:2]):
        with pytest.raises(SettingError, match="three or more"):
            gradient_fidelity(model, squares, [(x, y)], few)
    for target in (torch.ones(SIZE - 1), torch.zeros(SIZE)):
        with pytest.raises(SettingError, match="weights of all samples"):
            gradient_fidelity(model, squares, [(x, y)], plans, target=target)
    with pytest.raises(SettingError, match="draws=0"):
        redraw(RandomPruning(), Ledger(SIZE), epoch=1, draws=0)


def test_a_gradient_of_zero_has_no_direction() -> None:
    model, x, _, _ = problem()
    plans = [Plan(epoch=0, ids=torch.arange(3), weights=torch.ones(3), num_samples=SIZE)] * 3
    with pytest.raises(SettingError, match="full gradient is zero"):
        gradient_fidelity(model, lambda m, b: 0 * m(b)[:, 0], [x], plans)
