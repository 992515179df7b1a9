"""Extra-forward Bernoulli chooses what a literal, slow reading of its paper chooses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from online.found import losses, shown
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.online import Choice, ExtraForwardBernoulli

SIZE, BATCH = 20, 6


def positions(choice: Choice) -> list[int]:
    return choice.positions.tolist()


def chances(norm: list[float], alpha: float, budget: int) -> list[float]:
    """p_i = min(a_i / c, 1), c found by the binary search that the paper names."""
    mean = math.fsum(x * x for x in norm) / len(norm)
    a = [math.sqrt((1 - alpha) * x * x + alpha * mean) for x in norm]
    low, high = 0.0, 2 * math.fsum(a) / budget
    for _ in range(200):
        middle = (low + high) / 2
        if math.fsum(min(value / middle, 1.0) for value in a) > budget:
            low = middle
        else:
            high = middle
    return [min(value / high, 1.0) for value in a]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_extra_forward_bernoulli_follows_its_paper(alpha: float, seed: int) -> None:
    method, norm = ExtraForwardBernoulli(alpha=alpha), losses(SIZE, seed) ** 2
    choice = method.choose(shown(method, norm, batch_size=BATCH, seed=seed))
    p = chances(norm.tolist(), alpha, BATCH)
    uniform = Draws(seed, 0).uniform(SIZE, "selection", torch.float64).tolist()
    kept = [i for i in range(SIZE) if uniform[i] < p[i]]
    largest = max(range(SIZE), key=lambda i: p[i])
    p[largest] = min(1.0, p[largest] + math.prod(1 - x for x in p))
    assert positions(choice) == kept or not kept
    assert choice.weights is not None
    # The loss is (1/B) Σ ℓ / p.
    loss = [1 / (SIZE * p[i]) for i in kept]
    assert (choice.weights / len(kept)).tolist() == pytest.approx(loss, rel=1e-6)


def test_weights_are_bounded_by_the_smoothing() -> None:
    """p >= (b/B) sqrt(α)."""
    method = ExtraForwardBernoulli(alpha=0.25)
    for seed in range(50):
        choice = method.choose(shown(method, losses(SIZE, seed) ** 6, batch_size=5, seed=seed))
        assert choice.weights is not None
        bound = len(choice.positions) / SIZE * (SIZE / 5) / 0.5
        assert float(choice.weights.max()) <= bound * (1 + 1e-6)


def test_systematic_keeps_exactly_b() -> None:
    method = ExtraForwardBernoulli(sampling="systematic")
    for seed in range(30):
        choice = method.choose(shown(method, losses(SIZE, seed), batch_size=BATCH, seed=seed))
        assert len(choice.positions) == BATCH


@pytest.mark.parametrize("settings", [{"alpha": 2.0}, {"sampling": "poisson"}], ids=str)
def test_extra_forward_bernoulli_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"ExtraForwardBernoulli\({next(iter(settings))}="):
        ExtraForwardBernoulli(**settings)
