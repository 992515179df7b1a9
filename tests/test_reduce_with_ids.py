"""`reduce(losses, ids=...)`: the weighted mean of a batch whose loop knows its ids."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from below_the_loop import N, built, score
from contracts.drive import named
from small_runs import differences, every_method
from thresher import InfoBatch, Method, Pruner, RandomPruning

METHODS = every_method()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_reduce_with_ids_is_the_weighted_mean_and_observes(method: Method) -> None:
    reduced, observed = built(method), built(method)
    for epoch in range(5):
        plan = observed.plan(epoch)
        assert reduced.plan(epoch).ids.tolist() == plan.ids.tolist()
        weights = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))
        # From the middle, backwards: neither in order nor in runs.
        order = plan.ids.roll(len(plan) // 2).flip(0)
        for ids in order.split(4):
            losses = score(ids, epoch).requires_grad_()
            scores = named(method, losses.detach())
            mean = reduced.reduce(losses, ids=ids, scores=scores)
            expected = np.mean([weights[i] * v for i, v in zip(ids.tolist(), losses.tolist())])  # noqa: B905
            assert mean.item() == pytest.approx(expected, rel=1e-5)
            mean.backward()
            assert losses.grad is not None
            wanted = torch.tensor([weights[i] / len(ids) for i in ids.tolist()])
            assert torch.allclose(losses.grad, wanted)
            observed.observe(ids, scores)
    ours, theirs = reduced.state_dict()["clock"], observed.state_dict()["clock"]
    assert not differences(ours["ledger"], theirs["ledger"])
    assert not differences(ours["progress"]["scores"], theirs["progress"]["scores"])
    assert not differences(ours["progress"]["step"], theirs["progress"]["step"])


def test_reduce_with_ids_works_beside_a_loader_that_reads_ahead() -> None:
    pruner = Pruner(InfoBatch(), epochs=4)
    loader: Any = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    for epoch in range(4):
        queue = []
        for ids in loader:
            queue.append((loader.batch_ids, ids))
            if len(queue) == 3:
                names, batch = queue.pop(0)
                pruner.reduce(score(batch, epoch), ids=names)
        for names, batch in queue:
            pruner.reduce(score(batch, epoch), ids=names)
    report = pruner.report()
    assert [row.trained for row in report.rows] == [row.planned for row in report.rows]
    assert len(report.rows) == 4
    assert report.notes == []


def test_weights_of_a_plan_are_those_that_reduce_uses_with_a_step_exponent() -> None:
    pruner = built(RandomPruning(prune_ratio=0.5), step_exponent=0.5)
    plan = pruner.plan(0)
    assert plan.weights.mean().item() == pytest.approx(math.sqrt(2), rel=1e-6)
    mean = pruner.reduce(torch.ones(len(plan)), ids=plan.ids)
    assert mean.item() == pytest.approx(math.sqrt(2), rel=1e-6)
