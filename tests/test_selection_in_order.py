"""A method that works along the epoch's order may say so; its plan is that of a choice by row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.methods._method import Reference
from thresher.plan import Epoch, Plan, Selection
from thresher.planning import Planner, Protection
from thresher.schedule import Budget


@final
@dataclass(frozen=True, kw_only=True)
class AlongTheOrder(Method):
    """Keeps by what it draws along the epoch's order, or nobody; by row if it is asked to."""

    keeps: float = 0.5
    is_weighted: bool = True
    goes_back: bool = False

    reference = Reference(title="A test", authors="Nobody", year=2026)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        u = epoch.draws.uniform(ledger.num_rows, "selection")
        selection = Selection(
            kept=u < self.keeps,
            weights=1 + u if self.is_weighted else None,
            order=epoch.order(ledger.everyone),
            certain_weight=0.25,
            learning_rate_factor=3.0,
            facts={"fact": 2.0},
        )
        return selection.by_row() if self.goes_back else selection


def plan_of(method: Method, num: int, *, shuffled: bool, always_keep: list[int]) -> Plan:
    protection = Protection.of(method, always_keep or None, 0, None)
    planner = Planner(
        method=method, seed=3, shuffled=shuffled, max_weight=1.5, protection=protection
    )
    return planner.plan(Ledger(num), Budget(num_samples=num, epochs=9), epoch=2, visits=0)


@given(
    num=st.integers(1, 60),
    keeps=st.sampled_from([0.0, 0.3, 1.0]),
    is_weighted=st.booleans(),
    shuffled=st.booleans(),
    protects=st.booleans(),
)
def test_a_plan_is_the_same_whether_the_choice_lies_in_order_or_by_row(
    num: int, keeps: float, is_weighted: bool, shuffled: bool, protects: bool
) -> None:
    method = AlongTheOrder(keeps=keeps, is_weighted=is_weighted)
    certain = [0, num - 1] if protects else []
    laid = plan_of(method, num, shuffled=shuffled, always_keep=certain)
    by_row = plan_of(replace(method, goes_back=True), num, shuffled=shuffled, always_keep=certain)
    assert laid.ids.tolist() == by_row.ids.tolist()
    assert laid.weights.tolist() == by_row.weights.tolist()
    assert laid.facts == by_row.facts
    assert laid.learning_rate_factor == by_row.learning_rate_factor == 3.0
    assert set(certain) <= set(laid.ids.tolist())


def test_what_lies_at_a_place_of_the_order_is_of_the_row_that_the_order_has_there() -> None:
    order = torch.tensor([2, 0, 1])
    laid = Selection(
        kept=torch.tensor([True, False, True]), weights=torch.tensor([5.0, 6.0, 7.0]), order=order
    )
    by_row = laid.by_row()
    assert by_row.order is None
    assert by_row.kept.tolist() == [False, True, True]
    assert by_row.weights is not None
    assert by_row.weights.tolist() == [6.0, 7.0, 5.0]
    assert laid.kept.tolist() == [True, False, True]


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_plan_has_the_ids_in_the_order_that_the_method_was_given(shuffled: bool) -> None:
    plan = plan_of(AlongTheOrder(keeps=1.0), 30, shuffled=shuffled, always_keep=[])
    others = plan_of(AlongTheOrder(keeps=0.4), 30, shuffled=shuffled, always_keep=[])
    kept = set(others.ids.tolist())
    assert others.ids.tolist() == [i for i in plan.ids.tolist() if i in kept]
    assert (plan.ids.tolist() == list(range(30))) is not shuffled
