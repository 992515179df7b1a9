"""A method's own factor on the learning rate is there once, in every step of its epoch."""

from __future__ import annotations

import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler

from paced_loop import SCHEDULERS, SIZES, Built, Loop, Scripted, every_scheduler

FACTORS = (1.0, 0.5, 2.0, 2.0, 0.125)  # powers of two, so that products are exact


def rates_of_epochs(loop: Loop) -> list[list[float]]:
    used = iter(loop.used)
    return [[next(used)[0] for _ in range(size)] for size in SIZES]


@pytest.mark.parametrize("per", ["step", "epoch"])
@every_scheduler
def test_every_step_of_an_epoch_has_that_epochs_factor_once(kind: type, per: str) -> None:
    designed = rates_of_epochs(Loop(Scripted(), SCHEDULERS[kind], per=per).run())
    loop = Loop(Scripted(factors=FACTORS), SCHEDULERS[kind], per=per).run()
    for epoch, used in enumerate(rates_of_epochs(loop)):
        assert used == [rate * FACTORS[epoch] for rate in designed[epoch]]


def test_a_factor_in_the_first_epoch_is_there_at_the_first_step() -> None:
    constant: Built = lambda o, total: lr_scheduler.LambdaLR(o, lambda s: 1.0)  # noqa: E731
    loop = Loop(Scripted(factors=(0.5,) * 5), constant).run()
    assert {used[0] for used in loop.used} == {0.05}
    assert loop.ends[-1][0] == 0.05


def test_two_schedulers_of_one_optimizer_share_the_factor() -> None:
    constant: Built = lambda o, total: lr_scheduler.ExponentialLR(o, 0.5)  # noqa: E731
    loop = Loop(Scripted(sizes=(12,) * 5, factors=FACTORS), constant)
    second = loop.pruner.pace(lr_scheduler.ExponentialLR(loop.optimizer, 2.0))
    for _ in loop.steps():
        second.step()
    assert [used[0] for used in loop.used] == [0.1 * f for f in FACTORS for _ in range(12)]


def test_a_factor_changes_a_rate_that_is_a_tensor_in_place() -> None:
    rate = torch.tensor(0.5)
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    constant: Built = lambda o, total: lr_scheduler.ExponentialLR(o, 1.0)  # noqa: E731
    loop = Loop(Scripted(factors=FACTORS), constant, optimizer=optimizer).run()
    assert [rates[0] for rates in rates_of_epochs(loop)] == [0.5 * f for f in FACTORS]
    assert optimizer.param_groups[0]["lr"] is rate


@every_scheduler
def test_a_step_exponent_switches_the_factor_off(kind: type) -> None:
    plain = Loop(Scripted(), SCHEDULERS[kind]).run()
    loop = Loop(Scripted(factors=FACTORS), SCHEDULERS[kind], step_exponent=0.0).run()
    assert loop.used == plain.used
