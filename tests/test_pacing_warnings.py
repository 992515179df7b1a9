"""What pacing warns of, and how often."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch
from torch import optim
from torch.optim import Optimizer, lr_scheduler

from paced_loop import SCHEDULERS, Loop, N, Scripted, bare, rates
from thresher import Full, Pruner
from thresher.errors import ThresherWarning

CANCELLING = {
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
}


def test_a_step_exponent_with_an_optimizer_that_cancels_it_warns_once() -> None:
    kinds = {k for k in vars(optim).values() if inspect.isclass(k) and issubclass(k, Optimizer)}
    pruner = Pruner(Full(), epochs=3, num_samples=4, step_exponent=0.5)
    warned = set()
    for kind in kinds - {Optimizer}:
        optimizer = kind([torch.zeros(2, 2, requires_grad=True)], lr=0.1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pruner.pace(lr_scheduler.StepLR(optimizer, 1))
        assert len(caught) <= 1
        for warning in caught:
            assert kind.__name__ in str(warning.message)
            assert "step_exponent=0.5" in str(warning.message)
            assert warning.filename == __file__
            warned.add(kind.__name__)
    assert warned == CANCELLING
    Pruner(Full(), epochs=3, num_samples=4).pace(
        lr_scheduler.StepLR(optim.Adam([torch.zeros(1, requires_grad=True)]), 1)
    )


def test_a_second_scheduler_of_an_optimizer_is_not_warned_of_again() -> None:
    pruner = Pruner(Full(), epochs=3, num_samples=4, step_exponent=0.5)
    one, other = (optim.Adam([torch.zeros(1, requires_grad=True)]) for _ in range(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for optimizer in (one, one, other, one):
            pruner.pace(lr_scheduler.StepLR(optimizer, 1))
    assert len(caught) == 2


def test_more_calls_than_planned_steps_warn_once_and_stay_at_the_epochs_end() -> None:
    kind = lr_scheduler.OneCycleLR
    loop = Loop(Scripted(), SCHEDULERS[kind])
    steps = loop.steps()
    for _ in range(12):
        next(steps)
    with pytest.warns(
        ThresherWarning, match=r"more often than the 12 .*accumulation_steps"
    ) as all_:
        loop.scheduler.step()
    loop.scheduler.step()
    assert len(all_) == 1
    assert all_[0].filename == __file__
    assert rates(loop.optimizer) == bare(kind, N)[N]
    for _ in steps:
        pass
    assert loop.ends[1:] == bare(kind, N)[2 * N :: N]
