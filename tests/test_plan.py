"""A plan is the epoch's order, filtered by the selection."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from contracts.drive import named
from made_up_plans import changed, plan_of
from small_runs import every_method
from thresher import Full, Method, Pruner


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("method", every_method(), ids=repr)
def test_a_plan_is_the_epochs_full_order_filtered_by_the_selection(
    method: Method, shuffle: bool
) -> None:
    everyone = Pruner(Full(), epochs=5, seed=3)
    chosen = Pruner(method, epochs=5, seed=3)
    for pruner in (everyone, chosen):
        plain = DataLoader(torch.arange(200), 4, shuffle=shuffle)
        pruner.wrap(plain, score_fn=lambda ids: dict.fromkeys(method.needs, ids))
    for epoch in range(5):
        order, plan = everyone.plan(epoch).ids.tolist(), chosen.plan(epoch)
        assert sorted(order) == list(range(200))
        assert (order == sorted(order)) != shuffle
        kept = set(plan.ids.tolist())
        assert plan.ids.tolist() == [i for i in order if i in kept]
        everyone.observe(order, torch.rand(200))
        chosen.observe(plan.ids, named(method, torch.frac((plan.ids + 1) * 0.618034)))


def test_a_plan_knows_whether_it_weights() -> None:
    assert changed(plan_of(5), weights=torch.ones(5)).is_unweighted
    assert not changed(plan_of(5), weights=torch.tensor([1, 1, 1, 1, 1 + 2**-23])).is_unweighted
    assert len(plan_of(5)) == 5
