"""OrderDP's `max_staleness`: no loss grows older, so no sample starves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from contracts.drive import ByHand, losses, run
from thresher import OrderDP


def visits(method: OrderDP, size: int = 2000, epochs: int = 60) -> Tensor:
    """How often each sample is trained when its loss is a lasting hardness times noise."""
    table, count = losses(size, epochs, seed=2), torch.zeros(size)
    for plan in run(method, table, batch_size=500)[1]:
        count[plan.ids] += 1
    return count


@pytest.mark.parametrize(("rho_s", "rho_q"), [(0.75, 0.85), (0.5, 0.6), (0.8, 0.375)])
def test_orderdp_starves_samples_unless_it_is_told_not_to(rho_s: float, rho_q: float) -> None:
    without = visits(OrderDP(rho_s=rho_s, rho_q=rho_q))
    with_limit = visits(OrderDP(rho_s=rho_s, rho_q=rho_q, max_staleness=6))
    assert float((without < 6).float().mean()) > 0.05
    # Of 60 epochs at least one in seven, but for the backlog of the first epochs.
    assert float(with_limit.min()) >= 60 // 7 - 1
    assert int(with_limit.sum()) == int(without.sum())


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_loss_grows_older_than_max_staleness(limit: int) -> None:
    """Once everybody was seen: an epoch of q leaves at most q that are due at once."""
    size, method = 600, OrderDP(rho_s=0.8, rho_q=0.8, max_staleness=limit)
    hand = ByHand(method, losses(size, 40))
    for number in range(40):
        plan = hand.train()
        assert len(plan) == 384
        age = hand.ledger["age"]
        if number > 5 + limit:
            assert int(age.max()) <= max(limit, 2)  # 384 + 384 >= 600: two epochs see all
    assert int(age.min()) == 0


def test_the_stalest_come_first_when_more_are_due_than_fit() -> None:
    hand = ByHand(OrderDP(rho_s=0.5, rho_q=0.4, max_staleness=2), torch.rand(1, 10))
    hand.ledger["loss"].copy_(torch.arange(10.0))
    hand.ledger["age"].copy_(torch.tensor([5, 9, 2, 3, 0, 0, 0, 0, 0, 0]))
    assert hand.select().kept.nonzero()[:, 0].tolist() == [0, 1]


def test_an_age_stops_at_the_largest_number_it_can_be() -> None:
    hand = ByHand(OrderDP(rho_s=0.5, rho_q=0.5, max_staleness=10**6), losses(8))
    hand.ledger["age"].fill_(2**15 - 1)
    plan = hand.train()
    absent = torch.ones(8, dtype=torch.bool)
    absent[plan.ids] = False
    assert hand.ledger["age"][absent].unique().tolist() == [2**15 - 1]
