"""Without a DataLoader: which plans can be asked for, and what asking does."""

from __future__ import annotations

import pytest
import torch

from below_the_loop import N, built, score
from contracts.drive import named
from small_runs import every_method
from thresher import Full, InfoBatch, Pruner, RandomPruning, RePB
from thresher.errors import EpochError, SettingError, ThresherWarning

METHODS = every_method()


def test_the_current_and_the_next_plan_can_be_asked_for_and_no_other() -> None:
    pruner = built(RePB(rho=0.5))
    for wrong in (-1, 2, 7):
        with pytest.raises(EpochError, match=rf"plan\({wrong}\); expected: 0, .* or 1, the next"):
            pruner.plan(wrong)
    first = pruner.plan(0)
    assert pruner.plan(0) is first
    pruner.observe(first.ids, score(first.ids, 0))
    assert pruner.plan(0) is first
    second = pruner.plan(1)
    assert pruner.plan(1) is second
    assert (first.epoch, second.epoch) == (0, 1)
    for wrong in (0, 3):
        with pytest.raises(EpochError, match="expected: 1, in progress, or 2"):
            pruner.plan(wrong)


def test_asking_for_the_next_plan_closes_the_epoch() -> None:
    pruner = built(InfoBatch())
    plan = pruner.plan(0)
    pruner.observe(plan.ids[:20], score(plan.ids[:20], 0))
    assert pruner.epoch == 0
    assert pruner.position == 20
    pruner.plan(1)
    assert pruner.epoch == 1
    assert pruner.position == 0
    with pytest.raises(EpochError):
        pruner.plan(0)
    assert pruner.report().rows[0].trained == 20


def test_a_loop_ends_by_finished() -> None:
    pruner, epochs = built(RandomPruning(prune_ratio=0.5)), []
    while not pruner.finished:
        plan = pruner.plan(pruner.epoch)
        epochs.append(plan.epoch)
        pruner.observe(plan.ids, score(plan.ids, plan.epoch))
    assert epochs == [0, 1, 2, 3, 4]
    assert pruner.epoch == 5


def test_an_epoch_closed_without_a_score_warns() -> None:
    pruner = built(InfoBatch())
    pruner.plan(0)
    with pytest.warns(ThresherWarning, match=r"Epoch 0 is closed without one score.*observe") as w:
        plan = pruner.plan(1)
    assert w[0].filename == __file__
    assert len(plan) == N  # nothing was learnt, so nothing is dropped


def test_a_plan_needs_a_number_of_samples() -> None:
    with pytest.raises(SettingError, match=r"0 samples.*at least one"):
        Pruner(Full(), epochs=3, num_samples=0)
    pruner = Pruner(RePB(rho=1.0), epochs=3, num_samples=1)
    for epoch in range(3):
        assert pruner.plan(epoch).ids.tolist() == [0]
        pruner.observe([0], torch.ones(1))


def test_a_pruner_without_samples_says_what_to_do() -> None:
    pruner = Pruner(InfoBatch(), epochs=3)
    for act in (
        lambda: pruner.plan(0),
        lambda: pruner.observe([0], torch.ones(1)),
        lambda: pruner.reduce(torch.ones(1), ids=[0]),
        pruner.state_dict,
    ):
        with pytest.raises(Exception, match=r"no data set yet.*num_samples=n"):
            act()
    assert pruner.epoch == 0
    assert not pruner.finished
    assert pruner.report().rows == []


@pytest.mark.usefixtures("unchanged_global_rng")
def test_no_global_generator_is_touched_below_the_loop() -> None:
    for method in METHODS:
        pruner = built(method, min_per_class=2, labels=torch.arange(N) % 3, always_keep=[4])
        for epoch in range(5):
            plan = pruner.plan(epoch)
            pruner.observe(plan.ids, named(method, score(plan.ids, epoch)))
        pruner.state_dict()
        pruner.report()
