"""Row 22: the published Selective Backprop counts in Python for each sample, and one of its

calculators cannot run: a NameError, and a one-hot code built from diag(arange).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from online.found import losses, shown, variants
from thresher.online import SelectiveBackprop


def published_percentile(history: list[float], loss: float) -> float:
    """O(R) in Python for each sample, as the published code has it."""
    count = 0
    for other in history:
        if other < loss:
            count += 1
    return 100 * count / len(history)


def test_the_count_is_that_of_the_published_loop_however_many_losses_tie() -> None:
    generator = np.random.default_rng(0)
    method, memory = SelectiveBackprop(beta=1.0, history=50), SelectiveBackprop(history=50).memory()
    history: list[float] = []
    for look in range(6):
        scores = torch.from_numpy(generator.integers(0, 5, 16).astype(np.float32))
        choice = method.choose(shown(method, scores, memory=memory, seed=look))
        history = (scores.tolist() + history)[:50]
        candidates = shown(method, scores, memory=memory, seed=look)
        uniform = candidates.draws.uniform(16, "selection", torch.float64).tolist()
        expected = [
            i
            for i, loss in enumerate(scores.tolist())
            if 100 * uniform[i] < published_percentile(history, loss)
        ]
        assert choice.positions.tolist() == expected
        memory = dict(choice.memory)


def test_a_look_sorts_once_instead_of_counting_for_each_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = itertools.count()
    search = np.searchsorted

    def counted(*args: Any, **settings: Any) -> Any:
        next(calls)
        return search(*args, **settings)

    monkeypatch.setattr(np, "searchsorted", counted)
    method = SelectiveBackprop()
    method.choose(shown(method, losses(512)))
    assert next(calls) == 1


@pytest.mark.parametrize("method", variants(SelectiveBackprop), ids=repr)
def test_every_variant_runs(method: SelectiveBackprop) -> None:
    choice = method.choose(shown(method, losses(32)))
    assert 0 < len(choice.positions) <= 32
    assert not any(math.isnan(value) for value in choice.positions.tolist())
