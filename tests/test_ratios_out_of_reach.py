"""A run that cannot save what was asked says so before it trains."""

from __future__ import annotations

import pytest
import torch

from thresher import Full, InfoBatch, Method, OrderDP, Pruner, RandomPruning, RePB
from thresher.errors import ThresherWarning
from whole_runs import N, run


@pytest.mark.parametrize(
    ("method", "epochs", "most"),
    [
        (RePB(prune_ratio=0.9), 10, "86%"),  # 9 epochs of 95 %
        (InfoBatch(prune_ratio=0.5), 3, "32%"),  # δ leaves two, and the first sees nothing
        (RandomPruning(prune_ratio=0.6, warmup_epochs=5), 10, "48%"),
        (OrderDP(prune_ratio=0.5, delta=0.5), 4, "48%"),
        (InfoBatch(prune_ratio=0.3, warmup_epochs=20), 10, "0%"),
        (RandomPruning(prune_ratio=0.99, delta=0.9), 10, "89%"),  # 9 epochs of 99 %
    ],
    ids=range(6),
)
def test_a_ratio_out_of_reach_is_warned_of_at_construction(
    method: Method, epochs: int, most: str
) -> None:
    with pytest.warns(ThresherWarning, match=rf"cannot save .*{most}; expected") as caught:
        pruner = Pruner(method, epochs=epochs, num_samples=N)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for epoch in range(epochs):
        plan = pruner.plan(epoch)
        pruner.observe(plan.ids, torch.frac((plan.ids + 1) * 0.618034))
    assert method.prune_ratio
    assert pruner.report().prune_rate < method.prune_ratio - 0.005
    assert pruner.report().prune_rate <= float(most[:-1]) / 100 + 0.01


def test_a_ratio_within_reach_is_not_warned_of_and_reached() -> None:
    for method in (
        RandomPruning(prune_ratio=0.47, warmup_epochs=5),
        RandomPruning(prune_ratio=0.8, delta=0.9),
        OrderDP(prune_ratio=0.8),
    ):
        assert run(method, epochs=10).report().prune_rate == pytest.approx(
            method.prune_ratio, abs=0.01
        )


def test_a_method_that_learns_warns_below_three_epochs_and_only_once() -> None:
    with pytest.warns(ThresherWarning, match=r"RePB learns from earlier.*3 epochs") as caught:
        Pruner(RePB(prune_ratio=0.5), epochs=2)
    assert len(caught) == 1
    Pruner(RandomPruning(prune_ratio=0.5), epochs=1)
    Pruner(Full(), epochs=1)
