"""KAKURENBO's code calls `.item()` three times a sample and step, and loops over the K easiest."""

from __future__ import annotations

from contracts.drive import ByHand, losses
from regressions.calls import calls_of
from thresher import KAKURENBO, Plan


def test_hiding_looking_again_and_observing_make_as_many_calls_for_any_size() -> None:
    found = []
    for size in (1000, 64_000):
        hand = ByHand(KAKURENBO(max_fraction=0.5), losses(size, 3))
        hand.train(batch_size=size)
        hand.train(batch_size=size)
        calls: list[Plan] = []
        found.append(
            calls_of(lambda hand=hand, size=size, seen=calls: seen.append(hand.train(size)))
        )
        assert len(calls[0]) < size, "nobody is hidden, so this says nothing"
    # The random order is drawn in pieces of 2^14.
    assert found[1] < found[0] + 100
    assert found[1] < 1000
