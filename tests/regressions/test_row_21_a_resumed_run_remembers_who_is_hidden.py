"""KAKURENBO's code saves no scores: a resumed run begins with nobody hidden.

And its learning rate follows the largest fraction, however few are hidden; that is the default here
too, and "actual" the option.
"""

from __future__ import annotations

import copy

import pytest
import torch

from contracts.drive import epoch_of, losses, run
from thresher import KAKURENBO, Pruner

SIZE = 80


@pytest.mark.parametrize("method", [KAKURENBO(), KAKURENBO(lr_fraction="actual")])
def test_a_resumed_run_remembers_who_is_hidden(method: KAKURENBO) -> None:
    table = losses(SIZE)
    pruner, _ = run(method, table, epochs=5)
    resumed = Pruner(method, epochs=len(table), num_samples=SIZE)
    resumed.load_state_dict(copy.deepcopy(pruner.state_dict()))
    for _ in range(5, len(table)):
        ours, theirs = epoch_of(pruner, table), epoch_of(resumed, table)
        assert len(ours) < SIZE
        assert torch.equal(ours.ids, theirs.ids)
        assert ours.learning_rate_factor == theirs.learning_rate_factor


def test_the_learning_rate_follows_the_largest_fraction_or_the_hidden_one() -> None:
    table = losses(SIZE)
    hidden = []
    for plan in run(KAKURENBO(lr_fraction="actual"), table)[1]:
        assert plan.learning_rate_factor == pytest.approx(SIZE / len(plan))
        hidden.append(1 - len(plan) / SIZE)
    for plan in run(KAKURENBO(), table)[1][1:]:
        assert plan.learning_rate_factor == pytest.approx(1 / 0.7)
    assert any(0 < share < 0.29 for share in hidden), "some moved back, so that the two differ"
