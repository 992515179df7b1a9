"""SeTa's code runs scikit-learn, loops in Python over every kept sample, and draws without a seed.

On a machine without a GPU it cannot even agree on a seed between ranks: `.cuda()` is written in.
"""

from __future__ import annotations

import pytest
import torch

from contracts.drive import ByHand, losses, run
from regressions.calls import calls_of
from thresher import SeTa
from thresher.draws import Draws


def test_the_count_of_calls_sees_a_loop_over_samples() -> None:
    assert calls_of(lambda: [abs(x) for x in range(5000)]) >= 5000


def test_an_epoch_makes_far_fewer_calls_than_it_has_samples() -> None:
    size = 200_000
    for num_samples in (1000, size):  # what is imported at its first use is imported by now
        hand = ByHand(SeTa(), losses(num_samples, 3))
        hand.train(batch_size=4096)
        hand.train(batch_size=4096)
    assert calls_of(lambda: hand.train(batch_size=4096)) < size / 50


def test_the_same_seed_draws_the_same_part_and_another_one_another() -> None:
    table, method = losses(300), SeTa(r=0.4)
    state = torch.get_rng_state()
    plans = []
    for seed, stray in ((1, 0), (1, 1), (2, 0)):
        torch.manual_seed(stray)
        plans.append([plan.ids.sort().values.tolist() for plan in run(method, table, seed=seed)[1]])
    torch.set_rng_state(state)
    assert plans[0] == plans[1]
    assert all(ours != theirs for ours, theirs in zip(plans[0][:8], plans[2][:8], strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_groups_themselves_need_no_seed(seed: int) -> None:
    chosen = []
    for other in (seed, seed + 10):
        hand = ByHand(SeTa(r=0.0, window=3), losses(500, seed=seed), lambda e, s=other: Draws(s, e))
        for _ in range(4):
            plan = hand.train()
            chosen.append(plan.ids.sort().values.tolist())
    assert chosen[:4] == chosen[4:]
