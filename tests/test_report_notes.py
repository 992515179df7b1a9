"""What a report says in words: a ratio that was missed, batches skipped, scores broken."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from thresher import Full, InfoBatch, Omission, OrderDP, Pruner, RandomPruning
from thresher.errors import ThresherWarning
from whole_runs import N, run


def rate_notes(pruner: Pruner) -> list[str]:
    return [note for note in pruner.report().notes if note.startswith("asked")]


def test_a_rate_that_was_not_reached_is_noted_once_the_run_is_complete() -> None:
    pruner = Pruner(InfoBatch(prune_ratio=0.7, delta=1.0), epochs=10, num_samples=N)
    for epoch in range(10):
        plan = pruner.plan(epoch)
        assert rate_notes(pruner) == []
        pruner.observe(plan.ids, torch.frac((plan.ids + 1) * 0.618034))
    rate = pruner.report().prune_rate
    assert rate < 0.69
    assert rate_notes(pruner) == [
        f"asked 70 %, saved {100 * rate:.3g} %: the most InfoBatch could prune in this run"
    ]


@pytest.mark.parametrize("kind", [RandomPruning, OrderDP, Omission])
def test_a_rate_that_was_reached_is_not_noted(kind: Any) -> None:
    pruner = run(kind(prune_ratio=0.5))
    assert pruner.report().prune_rate == pytest.approx(0.5, abs=0.01)
    assert pruner.report().notes == []


def test_no_rate_asked_is_no_note() -> None:
    assert run(InfoBatch()).report().notes == []


def test_a_rate_beyond_the_asked_one_is_noted_with_what_was_never_trained() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.2), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 9, shuffle=True, drop_last=True))
    for _ in range(3):
        for ids in loader:
            pruner.reduce(ids.float())
    assert pruner.finished
    assert pruner.report().trained == 81
    first, second = pruner.report().notes
    assert first == "asked 20 %, saved 32.5 %: more than was asked"
    assert second.startswith("12.5 % of all visits were planned but not trained")
    assert "drop_last" in second


def test_skipped_batches_are_totalled_in_a_note() -> None:
    pruner = Pruner(Full(), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*never reduced")
        for _ in range(2):
            for k, ids in enumerate(loader):
                if k % 3 != 1:
                    pruner.reduce(ids.float())
    assert [row.skipped_batches for row in pruner.report().rows] == [3, 3]
    assert pruner.report().notes == ["batches fetched but never reduced, so not trained: 6"]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_scores_are_counted_each_epoch_warned_once_and_totalled(broken: float) -> None:
    with pytest.warns(ThresherWarning, match=r"1 samples of epoch 0 .*NaN or infinite") as caught:
        pruner = run(InfoBatch(), broken=broken)
    assert len(caught) == 1
    assert [row.non_finite for row in pruner.report().rows] == [1] * 5
    assert pruner.report().notes == ["scores that were NaN or infinite and counted as unseen: 5"]


def test_epochs_beyond_the_planned_ones_train_on_everything_and_are_noted() -> None:
    pruner = run(RandomPruning(prune_ratio=0.5))
    for epoch in (5, 6):
        plan = pruner.plan(epoch)
        assert len(plan) == N
        pruner.observe(plan.ids, torch.zeros(N))
    notes = pruner.report().notes
    assert "epochs on all samples, beyond the planned 5: 2" in notes
    assert notes[0].startswith("asked 50 %, saved 35.7 %")
