"""A public ε-greedy stores each raw loss over the average that its selection is to rank by.

Its distributed path also averages the losses of different samples that share a place in the batch.
"""

from __future__ import annotations

import pytest
import torch

from contracts.drive import ByHand, steps
from thresher import UCB, EpsilonGreedy
from thresher.methods import Method
from thresher.plan import Plan, Trace


@pytest.mark.parametrize("method", [EpsilonGreedy(kappa=0.5, epsilon=0.0), UCB(kappa=0.5, c=0.0)])
def test_one_lucky_loss_does_not_undo_a_bad_record(method: Method) -> None:
    """Hard for long and easy once, against easy for long and hard once."""
    table = torch.tensor([[9.0, 0.5]] * 6 + [[0.1, 2.0]])
    hand = ByHand(method, table)
    for _ in range(7):
        hand.method.observe(hand.ledger, *everyone(hand))
        hand.number += 1
    assert hand.ledger["mean"][0] > hand.ledger["mean"][1]
    assert hand.select().kept.tolist() == [True, False]


def everyone(hand: ByHand) -> tuple[Plan, Trace]:
    size = hand.ledger.num_samples
    plan = Plan(
        epoch=hand.number, ids=torch.arange(size), weights=torch.ones(size), num_samples=size
    )
    return plan, Trace(scores={"loss": hand.table[hand.number]}, step=steps(size))


@pytest.mark.parametrize("method", [EpsilonGreedy(), UCB()])
def test_samples_that_share_a_place_in_two_batches_keep_their_own_losses(method: Method) -> None:
    hand = ByHand(method, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    plan = hand.plan()
    hand.observe(plan, hand.table[0][plan.ids], steps(len(plan), 1))
    assert hand.ledger["mean"][plan.ids].tolist() == (plan.ids + 1).tolist()
