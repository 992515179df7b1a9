"""OrderDP's CIFAR code has its branch for ranks switched off: each rank trains the whole epoch.

`get_weights` and `reset_weights` raise AttributeError, every step prints a line, and the γ of its
theorem, which it computes, weight nothing. Here weight 1 is the rule (the drawing gives the γ), and
the plan says so.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from contracts.drive import losses
from parallel import jobs
from parallel.processes import succeed
from thresher import OrderDP, Pruner

SIZE, BATCH = 203, 8


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_share_an_epoch(world: int) -> None:
    """Each rank derives the plan for itself, as it would in a process of its own."""
    table = losses(SIZE, 4)
    pruners = [Pruner(OrderDP(), epochs=4, num_samples=SIZE) for _ in range(world)]
    for row in table:
        plans = [pruner.plan(pruner.epoch) for pruner in pruners]
        assert len({plan.checksum() for plan in plans}) == 1
        shares = [plan.share(rank, world, BATCH) for rank, plan in enumerate(plans)]
        real = [ids for share in shares for ids in share.ids[share.real].tolist()]
        assert sorted(real) == sorted(plans[0].ids.tolist()), "each sample on one rank alone"
        assert len({len(share.ids) for share in shares}) == 1
        for pruner, plan in zip(pruners, plans, strict=True):
            pruner.observe(plan.ids, row[plan.ids])


def epochs_of(rank: int) -> list[tuple[jobs.Digest, list[list[int]]]]:
    """What one process trains of four epochs over a wrapped loader."""
    table = losses(SIZE, 4)
    pruner, loader = jobs.wrapped(OrderDP(), SIZE, BATCH, epochs=4)
    return [jobs.epoch_of(pruner, loader, table) for _ in range(4)]


def test_under_torch_distributed_no_sample_is_trained_on_two_ranks() -> None:
    for parts in zip(*succeed(epochs_of, 2), strict=True):
        assert len({plan for plan, _ in parts}) == 1
        (plan, _), trained = parts[0], [{i for b in batches for i in b} for _, batches in parts]
        assert {len(batches) for _, batches in parts} == {-(-plan[1] // (2 * BATCH))}
        assert len(trained[0] & trained[1]) <= 1, "a copy that pads the last batch"
        assert len(trained[0] | trained[1]) == plan[1]


def test_every_weight_is_there_and_is_one() -> None:
    pruner = Pruner(OrderDP(), epochs=4, num_samples=SIZE)
    for row in losses(SIZE, 4):
        plan = pruner.plan(pruner.epoch)
        assert plan.weights.tolist() == [1.0] * len(plan)
        pruner.observe(plan.ids, row[plan.ids])
    assert OrderDP.unbiased_for.startswith("L_q")
    assert not OrderDP.claims_unbiased


def test_a_step_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    table, pruner = losses(SIZE, 3), Pruner(OrderDP(), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(SIZE), BATCH, shuffle=True))
    for row in table:
        for ids in loader:
            pruner.reduce(row[ids])
    pruner.report()
    assert capfd.readouterr() == ("", "")
