"""`max_weight` clips a plan's weights, and counts what it clipped."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
import torch

from contracts.drive import losses
from thresher import Full, InfoBatch, Method, Omission, PersistentImportance, RePB
from thresher.errors import CheckpointError, SettingError
from thresher.ledger import Ledger
from thresher.plan import Plan, Trace
from thresher.planning import Planner
from thresher.schedule import Budget
from thresher.settings import Settings


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
