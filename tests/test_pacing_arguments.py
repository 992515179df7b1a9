"""What `pace` takes and refuses: metrics and positions, per step and per epoch."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from paced_loop import SCHEDULERS, Loop, rates, sgd
from thresher import Full, Pruner
from thresher.errors import SettingError


def test_reduce_on_plateau_gets_its_metric_per_epoch() -> None:
    metrics = [1.0, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5]
    plain = ReduceLROnPlateau(sgd(), patience=1, factor=0.1)
    inner = ReduceLROnPlateau(sgd(), patience=1, factor=0.1)
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    paced = pruner.pace(inner, per="epoch")
    for epoch, metric in enumerate(metrics):
        pruner.observe(pruner.plan(epoch).ids, torch.zeros(4))
        plain.step(metric)
        paced.step(metrics=metric) if epoch % 2 else paced.step(metric)
        assert rates(inner.optimizer) == rates(plain.optimizer)
    assert inner.optimizer.param_groups[0]["lr"] < 0.1
    assert paced.best == 0.5


def test_reduce_on_plateau_per_step_is_refused() -> None:
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    with pytest.raises(SettingError, match=r"ReduceLROnPlateau.*metric.*per='epoch'"):
        pruner.pace(ReduceLROnPlateau(sgd()))


def test_an_unknown_pace_is_refused() -> None:
    with pytest.raises(SettingError, match=r"per='batch'.*'step' or 'epoch'"):
        Loop(Full(), SCHEDULERS[lr_scheduler.StepLR], per="batch")


def test_a_position_given_to_a_scheduler_paced_per_step_is_refused() -> None:
    loop = Loop(Full(), SCHEDULERS[lr_scheduler.CosineAnnealingWarmRestarts])
    next(loop.steps())
    with pytest.raises(SettingError, match=r"\(0\.5,\).*without arguments.*per='epoch'"):
        loop.scheduler.step(0.5)
    loop.scheduler.step(None)


def test_per_step_without_a_loader_is_refused() -> None:
    pruner = Pruner(Full(), epochs=7, num_samples=4)
    paced = pruner.pace(lr_scheduler.StepLR(sgd(), 1))
    pruner.observe(pruner.plan(0).ids, torch.zeros(4))
    with pytest.raises(SettingError, match=r"without a wrapped loader.*per='epoch'"):
        paced.step()
