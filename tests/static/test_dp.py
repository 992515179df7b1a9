"""DP: influences of the last layer, and a set of them that nearly cancels."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from static.found import made_up
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.static import DP, Collected
from thresher.static.annealing import least_norm
from thresher.static.dp import influence


def with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1)], dim=1).double()


def hessian(data: Collected) -> Tensor:
    """Of the mean cross entropy by the last layer's weight and bias: (c(d+1), c(d+1))."""
    assert data.features is not None
    assert data.probabilities is not None
    p, inputs = data.probabilities.double(), with_one(data.features)
    within = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    outer = inputs[:, :, None] * inputs[:, None, :]
    size = p.shape[1] * inputs.shape[1]
    total = torch.einsum("nab,nij->aibj", within, outer).reshape(size, size)
    return total / len(p)


def test_influences_are_exact_where_probabilities_do_not_depend_on_features() -> None:
    data = made_up(50, seed=1)
    p = torch.tensor([0.2, 0.5, 0.3])
    data = Collected(
        labels=data.labels, num_classes=3, features=data.features, probabilities=p.expand(50, 3)
    )
    left, right = influence(data, torch.arange(50), damping=1e-4)
    found = torch.einsum("nc,nd->ncd", left, right).flatten(1).double()
    gradients = torch.einsum(
        "nc,nd->ncd", data.residuals().double(), with_one(data.features)
    ).flatten(1)  # type: ignore[arg-type]
    # H is singular: a constant added to all logits changes nothing.
    expected = gradients @ torch.linalg.pinv(hessian(data), rtol=1e-6)
    # The damping is 1e-4 of the mean diagonal, and float32 is amplified by its inverse.
    assert float((found - expected).abs().max()) < 1e-2 * float(expected.abs().max())


def fitted(inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The last layer that minimises the weighted mean loss, a little regularised, by Newton."""
    start = torch.zeros(3 * inputs.shape[1], dtype=torch.float64)

    def risk(flat: Tensor) -> Tensor:
        logits = inputs @ flat.view(3, -1).T
        loss = F.cross_entropy(logits, labels, reduction="none")
        return (loss * weights).sum() / len(labels) + 5e-3 * flat.square().sum()

    for _ in range(12):
        gradient = torch.autograd.functional.jacobian(risk, start)
        curvature = torch.autograd.functional.hessian(risk, start)
        start = start - torch.linalg.solve(curvature, gradient)
    return start


def test_influences_point_where_parameters_move_when_a_sample_is_left_out() -> None:
    data = made_up(60, seed=3, features=2)
    assert data.features is not None
    assert data.labels is not None
    inputs, labels = with_one(data.features), data.labels
    whole = fitted(inputs, labels, torch.ones(60))
    p = (inputs @ whole.view(3, -1).T).softmax(1).float()
    data = Collected(labels=labels, num_classes=3, features=data.features, probabilities=p)
    left, right = influence(data, torch.arange(60), damping=0.05)
    cosines = []
    for i in range(0, 60, 6):
        weights = torch.ones(60)
        weights[i] = 0
        moved = fitted(inputs, labels, weights) - whole
        # Removing i adds its influence, which the factors hold with the sign of its gradient.
        predicted = torch.outer(left[i], right[i]).flatten().double()
        cosines.append(float(F.cosine_similarity(moved, predicted, dim=0)))
    # A random direction in 9 dimensions has a cosine of 0 ± 1/3.
    assert sum(cosines) / len(cosines) > 0.8, cosines


def energy(left: Tensor, right: Tensor, members: Tensor) -> float:
    return float((left[members].T @ right[members]).square().sum())


def test_annealing_nearly_finds_the_best_of_all_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    share_better = []
    for seed in range(8):
        left, right = (torch.randn(12, k, generator=generator) for k in (2, 3))
        found = energy(left, right, least_norm(left, right, 6, 60, Draws(seed, 0)))
        every = [
            energy(left, right, torch.tensor(each)) for each in itertools.combinations(range(12), 6)
        ]
        share_better.append(sum(value < found * (1 - 1e-5) for value in every) / len(every))
    # Uniformly random sets would have half of all others below them.
    assert sum(share_better) / len(share_better) < 0.05, share_better


@pytest.mark.parametrize("size", [0, 1, 7, 149, 150])
def test_annealing_keeps_the_size(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(150, k, generator=generator) for k in (3, 4))
    assert int(least_norm(left, right, size, 5, Draws(0, 0)).sum()) == size


def test_what_is_left_out_nearly_cancels() -> None:
    data = made_up(400, seed=2)
    left, right = influence(data, torch.arange(400), 0.01)
    generator = torch.Generator().manual_seed(0)
    for ratio in (0.3, 0.7):
        ids, _ = DP().select(data, prune_ratio=ratio)
        removed = torch.ones(400, dtype=torch.bool)
        removed[ids] = False
        size = int(removed.sum())
        by_chance = [
            energy(left, right, torch.randperm(400, generator=generator)[:size]) for _ in range(20)
        ]
        assert energy(left, right, removed) < min(by_chance) / 10
        assert ids.tolist() == sorted(ids.tolist())


def test_seeds_choose_differently() -> None:
    data = made_up(100)
    chosen = {tuple(DP(seed=s).select(data, prune_ratio=0.5)[0].tolist()) for s in range(3)}
    assert len(chosen) == 3


@pytest.mark.parametrize("settings", [{"damping": 0.0}, {"damping": -1.0}, {"sweeps": 0}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        DP(**settings)  # type: ignore[arg-type]
