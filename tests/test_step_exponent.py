"""One number for the step length: an epoch's weights have mean (n/S)^γ, whatever the method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import pytest
import torch

from contracts.drive import ByHand, epoch_of, losses
from contracts.found import METHODS, short
from contracts.test_laws_can_fail import Half
from thresher import Full, InfoBatch, Omission, Plan, Pruner, RePB
from thresher.errors import SettingError, ThresherWarning
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Selection

SIZE = 200
EPOCHS = 12

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)


def plans(method: Method, exponent: float | None) -> tuple[Pruner, list[Plan]]:
    pruner = Pruner(method, epochs=EPOCHS, num_samples=SIZE, step_exponent=exponent)
    table = losses(SIZE, EPOCHS)
    return pruner, [epoch_of(pruner, table) for _ in range(EPOCHS)]


def mean(plan: Plan) -> float:
    return float(plan.weights.double().mean())


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, -1.0])
@of_every_method
def test_mean_weight_is_the_power_of_what_was_left_out(method: Method, exponent: float) -> None:
    for plan in plans(method, exponent)[1]:
        assert mean(plan) == pytest.approx((SIZE / len(plan)) ** exponent, rel=1e-6)


@of_every_method
def test_exponent_changes_neither_the_choice_nor_the_ratios_of_weights(method: Method) -> None:
    for own, scaled in zip(plans(method, None)[1], plans(method, 0.5)[1], strict=True):
        assert torch.equal(own.ids, scaled.ids)
        ratio = scaled.weights / own.weights
        assert torch.allclose(ratio, ratio[:1].expand(len(ratio)), rtol=1e-5, atol=0)


@of_every_method
def test_what_a_method_remembers_does_not_depend_on_the_exponent(method: Method) -> None:
    """Omission estimates a population mean with its weights: the scale has to be taken off."""
    ledgers = []
    for exponent in (None, 0.0, 1.0):
        pruner, _ = plans(method, exponent)
        state = pruner.state_dict()["clock"]["ledger"]
        ledgers.append((state["columns"], state["scalars"]))
    for columns, scalars in ledgers[1:]:
        assert scalars == pytest.approx(ledgers[0][1], rel=1e-5)
        for name, column in columns.items():
            expected = ledgers[0][0][name].double()
            assert torch.allclose(column.double(), expected, rtol=1e-5, atol=0, equal_nan=True)


# Where the published rules stand on the dial.


def test_infobatch_as_published_stands_at_one() -> None:
    for plan in plans(InfoBatch(), None)[1]:
        assert mean(plan) == pytest.approx(SIZE / len(plan), rel=1e-6)


@of_every_method
def test_unweighted_rules_stand_at_zero(method: Method) -> None:
    hand = ByHand(method, losses(SIZE, EPOCHS))
    for _ in range(3):
        hand.train()
    if hand.select().weights is None:
        assert all(bool((plan.weights == 1).all()) for plan in plans(method, None)[1])


def test_omission_as_published_stands_at_zero_on_average() -> None:
    """Σ_S κ/p_i / S has mean 1 over the draws."""
    means = []
    for seed in range(40):
        pruner = Pruner(Omission(), epochs=EPOCHS, num_samples=SIZE, seed=seed)
        table = losses(SIZE, EPOCHS)
        means.append([mean(epoch_of(pruner, table)) for _ in range(4)][-1])
    average = torch.tensor(means)
    error = float(average.std()) / len(means) ** 0.5
    assert abs(float(average.mean()) - 1) < 4 * error


def test_repb_as_published_stands_at_one_in_the_long_run() -> None:
    """Each epoch after the ramp: S times the mean weight is about n."""
    pruner = Pruner(RePB(rho=0.5), epochs=40, num_samples=4000)
    table = losses(4000, 40)
    made = [epoch_of(pruner, table, 100) for _ in range(40)]
    sums = [mean(plan) * len(plan) / 4000 for plan in made[15:]]
    assert sum(sums) / len(sums) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_full_is_untouched_by_it(exponent: float) -> None:
    own, scaled = plans(Full(), None)[1], plans(Full(), exponent)[1]
    assert [plan.checksum() for plan in own] == [plan.checksum() for plan in scaled]


@dataclass(frozen=True, kw_only=True)
class WithFactor(Half):
    """A method that changes the learning rate as well, as KAKURENBO does."""

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return replace(super().select(ledger, epoch), learning_rate_factor=1.5)


def test_exponent_switches_the_methods_own_learning_rate_factor_off() -> None:
    assert {plan.learning_rate_factor for plan in plans(WithFactor(), None)[1]} == {1.5}
    assert {plan.learning_rate_factor for plan in plans(WithFactor(), 0.5)[1]} == {1.0}


@pytest.mark.parametrize("exponent", [float("nan"), float("inf")])
def test_exponent_has_to_be_a_number(exponent: float) -> None:
    with pytest.raises(SettingError, match=r"step_exponent.*a finite number"):
        Pruner(Full(), epochs=3, step_exponent=exponent)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_optimizers_that_cancel_a_factor_bring_one_warning(
    kind: type[torch.optim.Optimizer],
) -> None:
    optimizer = kind([torch.zeros(1, requires_grad=True)])  # type: ignore[call-arg]
    pruner = Pruner(InfoBatch(), epochs=3, num_samples=8, step_exponent=0.5)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    with pytest.warns(ThresherWarning, match="cancels") as caught:
        pruner.pace(scheduler)
    assert len(caught) == 1


def test_other_optimizers_bring_none() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    pruner = Pruner(InfoBatch(), epochs=3, num_samples=8, step_exponent=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner.pace(torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0))
