"""Any method warms up, anneals, and saves its ratio around its full epochs."""

from __future__ import annotations

import pytest

from contracts.drive import losses, run
from contracts.found import CLASSES
from thresher import HistoricalReplacement, Method, RePB

HISTORICAL = [kind for kind in CLASSES if kind.follows_prune_ratio]


@pytest.mark.parametrize("kind", HISTORICAL, ids=lambda kind: kind.__name__)
def test_any_method_anneals_and_warms_up(kind: type[Method]) -> None:
    _, plans = run(kind(delta=0.75, warmup_epochs=2), losses(300))
    pruned = [len(plan) < 300 for plan in plans]
    assert pruned[:2] == [False, False]
    assert pruned[9:] == [kind.prunes_to_the_end] * 3
    assert any(pruned[2:9])
    for plan in [*plans[:2], *plans[9:]]:
        assert bool((plan.weights == 1).all())


@pytest.mark.parametrize("kind", HISTORICAL, ids=lambda kind: kind.__name__)
def test_any_method_saves_its_ratio_around_full_epochs(kind: type[Method]) -> None:
    """To a hundredth where nothing but settings decide; else no more than that."""
    method = kind(prune_ratio=0.3, delta=0.75, warmup_epochs=1)
    pruner, _ = run(method, losses(1500), batch_size=50)
    rate = pruner.report().prune_rate
    assert rate < 0.31
    if method.has_exact_rate or kind in (RePB, HistoricalReplacement):
        assert rate > 0.29
