"""Runs without a DataLoader resume at any call, broken scores and all."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest

from contracts.drive import named
from made_up_scores import N, scored
from small_runs import copied, differences, every_method
from thresher import Method, Pruner

METHODS = every_method()


def observed(pruner: Pruner, broken: tuple[int, ...], states: list[Any]) -> list[Any]:
    """Drive a run by plan and observe, in micro-batches of 7, from where it stands."""
    trail = []
    for epoch in range(pruner.epoch, 5):
        plan = pruner.plan(epoch)
        trail.append((plan.ids.tolist(), plan.weights.tolist(), dict(plan.facts)))
        for ids in plan.ids[pruner.position :].split(7):
            pruner.observe(ids, named(pruner.method, scored(epoch, ids, broken)))
            states.append(copied(pruner.state_dict()))
    return trail


@pytest.mark.parametrize("broken", [(), (4, 7, 11)], ids=["finite", "NaN-and-infinite"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_plans_below_the_loop_resume_at_any_call_with_broken_scores_before(
    method: Method, broken: tuple[int, ...]
) -> None:
    maybe = contextlib.nullcontext()
    if broken and method.needs:
        maybe = pytest.warns(UserWarning, match="NaN or infinite")
    states: list[Any] = []
    with maybe:
        whole = Pruner(method, epochs=5, num_samples=N)
        trail = observed(whole, broken, states)
    for state in states:
        resumed = Pruner(method, epochs=5, num_samples=N)
        resumed.load_state_dict(state)
        start = resumed.epoch
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*NaN or infinite")
            assert observed(resumed, broken, []) == trail[start:]
        assert not differences(resumed.state_dict(), whole.state_dict())
        assert [row.non_finite for row in resumed.report().rows] == [
            row.non_finite for row in whole.report().rows
        ]
