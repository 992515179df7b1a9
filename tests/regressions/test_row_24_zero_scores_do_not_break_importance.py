"""Row 24: the published importance sampling divides 0 by 0 where all scores are 0.

Its uniform and presampling steps draw with replacement from the whole data set, too.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from online.found import looking, shown
from online.runs import train, wrapped
from thresher.online import ExtraForwardBernoulli, ImportanceSampling

EVERY_LOOK = ImportanceSampling(tau_th=0)


def test_the_published_way_divides_by_zero() -> None:
    scores = np.zeros(4)
    with np.errstate(invalid="ignore"):
        share = scores / scores.sum()
    assert np.isnan(share).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e38])
def test_equal_scores_are_drawn_uniformly_with_weight_one_for_each_draw(value: float) -> None:
    counts = np.zeros(12)
    for seed in range(300):
        scores = torch.full((12,), value)
        choice = EVERY_LOOK.choose(shown(EVERY_LOOK, scores, batch_size=4, seed=seed))
        assert choice.weights is not None
        times = choice.weights * 4 / len(choice.positions)
        assert torch.allclose(times, times.round(), atol=1e-5)
        assert float(times.sum()) == pytest.approx(4)
        counts[choice.positions.numpy()] += times.numpy()
        assert float(choice.memory["tau"]) == pytest.approx(0.1)
    assert np.abs(counts - 100).max() < 4 * np.sqrt(1200 * (1 / 12) * (11 / 12))


def test_a_score_of_zero_among_others_keeps_a_chance_and_a_finite_weight() -> None:
    scores = torch.tensor([0.0, 1.0, 1.0, 1.0])
    weights = []
    for seed in range(3000):
        choice = EVERY_LOOK.choose(shown(EVERY_LOOK, scores, batch_size=2, seed=seed))
        assert choice.weights is not None
        assert bool(choice.weights.isfinite().all())
        weights += choice.weights[choice.positions == 0].tolist()
    assert weights


def test_zero_norms_do_not_break_extra_forward_bernoulli_either() -> None:
    for alpha in (0.0, 0.1):
        method = ExtraForwardBernoulli(alpha=alpha)
        choice = method.choose(shown(method, torch.zeros(12), memory=looking(method)))
        assert choice.weights is not None
        assert bool(choice.weights.isfinite().all())


def test_no_sample_is_a_candidate_twice_before_all_were_once() -> None:
    pruner, loader, scores = wrapped(ImportanceSampling(), 48)
    train(pruner, loader, scores)
    train(pruner, loader, scores)
    assert sorted(scores.flat[:48]) == list(range(48))
