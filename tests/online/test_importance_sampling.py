"""Importance sampling chooses what a literal, slow reading of its paper chooses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from online.found import losses, shown
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.online import Choice, ImportanceSampling

SIZE, BATCH = 20, 6


def positions(choice: Choice) -> list[int]:
    return choice.positions.tolist()


def test_tau_is_what_the_paper_defines() -> None:
    """τ = (1 − ‖g − u‖² / ‖g‖²)^(−1/2); its average starts at 0 with decay 0.9."""
    method, average = ImportanceSampling(tau_th=100.0), 0.0
    memory = method.memory()
    for look in range(5):
        norm = losses(SIZE, look)
        memory = dict(method.choose(shown(method, norm, memory=memory)).memory)
        smooth = norm.double() + 1e-3 * norm.double().mean()
        share = smooth / smooth.sum()
        off = ((share - 1 / SIZE) ** 2).sum() / (share**2).sum()
        average = 0.9 * average + 0.1 / math.sqrt(1 - float(off))
        assert float(memory["tau"]) == pytest.approx(average, rel=1e-12)


def test_importance_waits_until_it_pays() -> None:
    """For B = 3b, τ_th = 2; below it candidates are trained as they come."""
    method = ImportanceSampling(candidates=3)
    for tau, is_uniform in ((1.99, True), (2.0, True), (2.01, False)):
        memory = {**method.memory(), "tau": torch.tensor(tau, dtype=torch.float64)}
        candidates = shown(method, losses(18), memory=memory, batch_size=6)
        choice = method.choose(candidates)
        assert (choice.weights is None) == is_uniform
        assert not is_uniform or positions(choice) == list(range(18))
        assert candidates.scores


def test_the_switch_for_two_candidates_a_draw_is_five_thirds() -> None:
    method = ImportanceSampling()
    for tau, is_uniform in ((1.66, True), (1.67, False)):
        memory = {**method.memory(), "tau": torch.tensor(tau, dtype=torch.float64)}
        choice = method.choose(shown(method, losses(12), memory=memory, batch_size=6))
        assert (choice.weights is None) == is_uniform


def test_scores_of_the_loop_spare_uniform_batches_the_look() -> None:
    method = ImportanceSampling()
    told = method.learned(method.memory(), {"logit_grad_norm": torch.tensor([3.0, 1.0, 0.0, 0.0])})
    share = (np.array([3.0, 1.0, 0.0, 0.0]) + 1e-3) / 4.004
    assert float(told["tau"]) == pytest.approx(0.1 * math.sqrt(4 * (share**2).sum()))
    candidates = shown(method, losses(SIZE), memory=told)
    assert not candidates.scores
    choice = method.choose(candidates)
    assert positions(choice) == list(range(SIZE))
    assert choice.memory["tau"] == told["tau"]
    high = {**told, "tau": torch.tensor(3.0, dtype=torch.float64)}
    assert shown(method, losses(SIZE), memory=high).scores


@pytest.mark.parametrize("seed", range(5))
def test_importance_draws_with_replacement_and_counts_repeats_once(seed: int) -> None:
    """b draws one by one; what is drawn c times has c times its weight 1 / (B g)."""
    method, norm = ImportanceSampling(tau_th=0), losses(SIZE, seed) ** 3
    choice = method.choose(shown(method, norm, batch_size=BATCH, seed=seed))
    smooth = norm.double() + 1e-3 * norm.double().mean()
    share = (smooth / smooth.sum()).tolist()
    times: dict[int, int] = {}
    for u in Draws(seed, 0).uniform(BATCH, "draws", torch.float64).tolist():
        total = 0.0
        for i in range(SIZE):
            total += share[i]
            if u < total:
                times[i] = times.get(i, 0) + 1
                break
    assert positions(choice) == sorted(times)
    assert choice.weights is not None
    # The loss is (1/b) Σ over draws; a batch divides by its m samples.
    loss = [c / BATCH / (SIZE * share[i]) for i, c in sorted(times.items())]
    assert (choice.weights / len(times)).tolist() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("settings", [{"tau_th": -1.0}, {"tau_th": math.nan}, {"decay": 1.0}])
def test_importance_sampling_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=rf"ImportanceSampling\({next(iter(settings))}="):
        ImportanceSampling(**settings)
