"""KAKURENBO's code adds up the ranks' scores, so a sample that pads two shards has twice its loss.

It also scores hidden samples in training mode; that the model is in evaluation mode, and left as it
was, is the business of whoever calls it. Here is what the method asks for and takes.
"""

from __future__ import annotations

import torch

from contracts.drive import ByHand, losses
from thresher import KAKURENBO


def hiding() -> ByHand:
    hand = ByHand(KAKURENBO(max_fraction=0.5), losses(40))
    hand.train()
    return hand


def test_nobody_is_asked_for_twice_and_nobody_who_was_trained() -> None:
    hand = hiding()
    plan = hand.plan()
    ids = hand.method.refreshed(hand.ledger, plan)
    assert ids is not None
    assert len(ids.unique()) == len(ids)
    assert sorted([*ids.tolist(), *plan.ids.tolist()]) == list(range(40))


def test_a_sample_that_pads_a_batch_counts_once() -> None:
    """Given twice, as in the last, padded batch of two ranks, its loss is its loss."""
    once, twice = hiding(), hiding()
    ids = once.method.refreshed(once.ledger, once.plan())
    assert ids is not None
    padded = torch.cat([ids, ids[:3]])
    for hand, given in ((once, ids), (twice, padded)):
        scores = {
            "loss": given.float() / 40,
            "correct": torch.ones(len(given)),
            "confidence": torch.full((len(given),), 0.9),
        }
        hand.method.observe_refreshed(hand.ledger, given, scores)
    for name, column in once.ledger.columns.items():
        assert torch.equal(column.nan_to_num(-1), twice.ledger[name].nan_to_num(-1)), name
    assert once.ledger["loss"][ids].tolist() == (ids.float() / 40).tolist()


def test_a_method_that_needs_no_second_look_asks_for_none() -> None:
    hand = ByHand(KAKURENBO(max_fraction=0.0), losses(40))
    hand.train()
    assert hand.method.refreshed(hand.ledger, hand.plan()) is None
