"""The user's `log` gets one row of numbers for each closed epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from small_runs import Script, every_method
from thresher import Full, InfoBatch, Method, Pruner, RandomPruning, RePB
from whole_runs import run

METHODS = every_method()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_log_is_called_once_for_each_closed_epoch_with_numbers(method: Method) -> None:
    calls: list[tuple[dict[str, float], int]] = []
    script = Script(method, accumulation_steps=2, log=lambda m, step: calls.append((m, step)))
    for _ in script.run():
        pass
    assert [metrics["epoch"] for metrics, _ in calls] == [0, 1, 2, 3]
    rows = script.pruner.report().rows
    steps = np.cumsum([math.ceil(math.ceil(row.trained / 4) / 2) for row in rows]).tolist()
    assert [step for _, step in calls] == steps[:4]
    for (metrics, _), row in zip(calls, rows, strict=False):
        assert all(isinstance(value, int | float) for value in metrics.values())
        assert metrics["trained_ratio"] == metrics["planned_ratio"] == row.trained / 22
        assert metrics["weight_mean"] == row.weight_mean
        assert metrics["effective_ratio"] == row.effective_samples / row.planned
        assert metrics["planning_seconds"] == row.planning_seconds
    pruned = [metrics for metrics, _ in calls if metrics["planned_ratio"] < 1]
    if isinstance(method, RePB):
        assert all(0 <= metrics["rho"] <= 1 for metrics in pruned)
        assert pruned
    if isinstance(method, InfoBatch):
        assert all(0 <= metrics["r"] < 1 for metrics in pruned)


def test_the_log_says_what_an_epoch_aimed_at() -> None:
    calls: list[dict[str, float]] = []
    run(RandomPruning(prune_ratio=0.4), log=lambda metrics, step: calls.append(metrics))
    assert [metrics["target"] for metrics in calls] == [pytest.approx(0.4)] * 4


def test_the_report_tells_of_the_last_epoch_what_the_log_is_told_of_the_others() -> None:
    calls: list[dict[str, float]] = []
    pruner = run(RandomPruning(prune_ratio=0.4), log=lambda metrics, step: calls.append(metrics))
    last = pruner.report().metrics()
    assert last["epoch"] == 4
    assert last["trained_ratio"] == pytest.approx(0.6, abs=0.02)
    # Facts of the method's own, such as the target, are in no row.
    assert last.keys() == calls[-1].keys() - {"target"}
    assert Pruner(Full(), epochs=1).report().metrics() == {}


def test_looking_at_a_coming_epoch_does_not_log_it() -> None:
    calls: list[int] = []
    pruner = Pruner(Full(), epochs=3, log=lambda metrics, step: calls.append(step))
    loader = pruner.wrap(DataLoader(torch.arange(8), 4))
    for ids in loader:
        pruner.reduce(ids.float())
    for _ in range(3):
        next(iter(loader))
        pruner.report()
        pruner.state_dict()
        assert len(loader) == 2
    assert calls == []
    batches = iter(loader)
    pruner.reduce(next(batches).float())
    assert calls == [2]
