"""What OrderDP's ImageNet code calls InfoBatch draws easy samples with replacement, never anneals.

It also takes ids apart in Python loops over tensors. A comparison with it favours OrderDP.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from contracts.drive import ByHand, losses, run
from regressions.calls import calls_of
from thresher import InfoBatch
from thresher.bench.catalogue import build_method

SIZE, EPOCHS = 2000, 16


def published_baseline(loss: np.ndarray, r: float, generator: np.random.Generator) -> np.ndarray:
    """The fault: `choice` draws with replacement unless it is told not to."""
    easy, hard = np.flatnonzero(loss < loss.mean()), np.flatnonzero(loss >= loss.mean())
    return np.concatenate([hard, generator.choice(easy, int((1 - r) * len(easy)))])


def test_the_fault_shows() -> None:
    ids = published_baseline(losses(SIZE)[0].numpy(), 0.5, np.random.default_rng(0))
    assert len(np.unique(ids)) < len(ids) - SIZE // 20


BASELINE = build_method("infobatch", None)
"""What a comparison trains under that name."""


def test_a_comparison_trains_infobatch_itself() -> None:
    assert InfoBatch() == BASELINE
    assert (BASELINE.r, BASELINE.delta) == (0.5, 0.875)


def test_easy_samples_are_drawn_without_replacement() -> None:
    """Of m easy ones ⌊(1 - r) m⌋ different ones, each of which stands for m / ⌊(1 - r) m⌋."""
    hand = ByHand(BASELINE, losses(SIZE))
    hand.train()
    low = hand.ledger["loss"] < float(hand.ledger["loss"].double().mean())
    kept = math.floor(0.5 * int(low.sum()))
    plan = hand.plan()
    assert len(plan.ids.unique()) == len(plan.ids) == SIZE - int(low.sum()) + kept
    assert int(low[plan.ids].sum()) == kept
    assert float(plan.weights.double().sum()) == pytest.approx(SIZE, rel=1e-6)


def test_the_last_eighth_of_the_epochs_trains_on_everything_with_weight_one() -> None:
    _, plans = run(BASELINE, losses(SIZE, EPOCHS), batch_size=100)
    assert [len(plan) < SIZE for plan in plans] == [False] + [True] * 13 + [False] * 2
    for plan in plans[14:]:
        assert bool((plan.weights == 1).all())


def test_ids_are_never_taken_one_by_one() -> None:
    """As many calls for a hundred times the samples."""
    calls = []
    for size in (200, 20_000):
        hand = ByHand(BASELINE, losses(size))
        hand.train(batch_size=size)
        calls.append(calls_of(lambda hand=hand, size=size: hand.train(batch_size=size)))
    assert calls[1] <= calls[0] + 20
