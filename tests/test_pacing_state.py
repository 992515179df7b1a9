"""A paced scheduler looks like the scheduler in it, and resumes at every step."""

from __future__ import annotations

from typing import Any

import pytest
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from paced_loop import EPOCHS, SCHEDULERS, Loop, N, Scripted, every_scheduler
from small_runs import copied
from thresher import Full


def test_a_paced_scheduler_is_a_scheduler_with_the_inner_ones_attributes() -> None:
    loop = Loop(Full(), SCHEDULERS[lr_scheduler.OneCycleLR])
    scheduler = loop.scheduler
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.optimizer is loop.optimizer
    assert scheduler.total_steps == N * EPOCHS
    assert scheduler.last_epoch == 0
    next(loop.steps())
    assert scheduler.last_epoch == 1
    assert scheduler.get_last_lr() == [g["lr"] for g in loop.optimizer.param_groups]
    with pytest.raises(AttributeError, match="nonsense"):
        scheduler.nonsense  # noqa: B018


@every_scheduler
@pytest.mark.parametrize("factors", [(), (1.0, 0.5, 2.0, 0.25, 0.5)], ids=["", "factors"])
def test_a_paced_scheduler_resumes_at_every_step(kind: type, factors: tuple[float, ...]) -> None:
    method = Scripted(sizes=(4, 2, 3, 1, 2), factors=factors)
    whole = Loop(method, SCHEDULERS[kind])
    states: list[Any] = [copied(snapshot(whole)) for _ in whole.steps()]
    for cursor, state in enumerate(states, start=1):
        resumed = Loop(method, SCHEDULERS[kind])
        resumed.pruner.load_state_dict(state["pruner"])
        resumed.optimizer.load_state_dict(state["optimizer"])
        resumed.scheduler.load_state_dict(state["scheduler"])
        resumed.run()
        assert resumed.used == whole.used[cursor:]
        assert resumed.ends[-1:] == whole.ends[-1:] or cursor == len(states)


def snapshot(loop: Loop) -> dict[str, Any]:
    return {
        "pruner": loop.pruner.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "scheduler": loop.scheduler.state_dict(),
    }
