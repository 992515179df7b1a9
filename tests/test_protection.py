"""Samples that the user protects are always trained, and nothing is biased by it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.drive import named
from small_runs import every_method
from thresher import Full, InfoBatch, Method, Omission, Pruner, RandomPruning, RePB
from thresher.errors import SettingError
from thresher.methods import OrderDP
from thresher.plan import Plan

METHODS = every_method()
N = 40
LABELS = torch.tensor([0] * 2 + [1] * 8 + [2] * 30)  # a rare, a small and a large class


def plans(method: Method, *, epochs: int = 5, **settings: Any) -> list[Plan]:
    """The plans of a run in which every sample always has the same score."""
    pruner = Pruner(method, epochs=epochs, num_samples=N, **settings)
    scores = torch.frac(torch.arange(N) * 0.618034).float()
    found = []
    for epoch in range(epochs):
        found.append(pruner.plan(epoch))
        pruner.observe(found[-1].ids, named(method, scores[found[-1].ids]))
    return found


def by_id(plan: Plan) -> Tensor:
    """Weights by sample id, 0 where a sample is left out."""
    weights = torch.zeros(N, dtype=torch.float64)
    weights[plan.ids] = plan.weights.double()
    return weights


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_named_ids_are_in_every_plan(method: Method) -> None:
    for seed in range(5):
        for plan in plans(method, always_keep=[3, 17, 31], seed=seed):
            assert {3, 17, 31} <= set(plan.ids.tolist())
            assert len(plan.ids.unique()) == len(plan)


@pytest.mark.parametrize("floor", [1, 3])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_class_has_its_floor_or_all_it_has(method: Method, floor: int) -> None:
    for seed in range(5):
        for plan in plans(method, min_per_class=floor, labels=LABELS, seed=seed):
            counts = np.bincount(LABELS[plan.ids].numpy(), minlength=3)
            assert (counts >= np.minimum(floor, [2, 8, 30])).all()


def test_a_floor_higher_than_what_a_method_keeps_is_just_reached() -> None:
    method = RandomPruning(prune_ratio=0.94)  # keeps two samples
    labels = torch.arange(N) % 4
    sizes = {len(plan) for plan in plans(method, min_per_class=5, labels=labels)[:2]}
    assert sizes <= set(range(20, 23))


def test_labels_may_be_any_whole_numbers_in_any_order() -> None:
    labels = torch.tensor([7, -1, 1000])[torch.randperm(N, generator=torch.manual_seed(0)) % 3]
    for plan in plans(RandomPruning(prune_ratio=0.9), min_per_class=2, labels=labels.tolist()):
        assert all(int((labels[plan.ids] == kind).sum()) >= 2 for kind in (7, -1, 1000))


@pytest.mark.parametrize(
    ("method", "epoch", "certain"),
    [
        (InfoBatch(), 1, 1.0),
        (RePB(rho=0.9), 1, 1.0),
        (OrderDP(), 0, 1.0),
        (Omission(kappa=0.25), 1, 0.25),
        (RandomPruning(prune_ratio=0.75), 0, 0.25),
    ],
    ids=lambda value: type(value).__name__,
)
def test_protected_samples_have_the_weight_of_a_certain_one(
    method: Method, epoch: int, certain: float
) -> None:
    weights = by_id(plans(method, always_keep=[3, 17], seed=2)[epoch])
    assert weights[3] == weights[17] == certain


def test_in_epochs_that_are_not_pruned_everyone_has_weight_one() -> None:
    method = RandomPruning(prune_ratio=0.3, warmup_epochs=1, delta=0.8)
    found = plans(method, always_keep=[3], min_per_class=2, labels=LABELS)
    for epoch in (0, 4):
        assert len(found[epoch]) == N
        assert (found[epoch].weights == 1).all()
    assert len(found[1]) < N


# -------------------------------------------------------------------------------- unbiasedness


def weights_over_seeds(method: Method, trials: int, **settings: Any) -> Tensor:
    """Each sample's weight in epoch 1, (trials, n); all samples have a score of their own."""
    scores = 0.2 + torch.frac(torch.arange(N) * 0.618034).float()
    rows = []
    for seed in range(trials):
        pruner = Pruner(method, epochs=9, num_samples=N, seed=seed, **settings)
        plan = pruner.plan(0)
        pruner.observe(plan.ids, scores[plan.ids])
        rows.append(by_id(pruner.plan(1)))
    return torch.stack(rows)


def worst_z(values: Tensor) -> float:
    """The largest |mean| of a column in standard errors."""
    mean, error = values.mean(0), values.std(0) / math.sqrt(len(values))
    return float((mean / error.clamp(min=1e-9)).abs().max())


PROTECTIONS: list[dict[str, Any]] = [
    {"always_keep": [0, 5, 39]},
    {"min_per_class": 3, "labels": LABELS},
    {"min_per_class": 6, "labels": LABELS, "always_keep": [4, 20]},
]


@pytest.mark.parametrize("settings", PROTECTIONS, ids=lambda s: "-".join(s))
@pytest.mark.parametrize(
    ("method", "mean"),
    [
        (InfoBatch(r=0.7), 1.0),
        (RandomPruning(prune_ratio=0.75), None),
        (Omission(kappa=0.25), 0.25),
        (Omission(kappa=0.25, sampling="bernoulli"), 0.25),
    ],
    ids=repr,
)
def test_expected_weights_stay_equal(
    method: Method, mean: float | None, settings: dict[str, Any]
) -> None:
    # Σ w_i g_i is proportional to Σ g_i in expectation, for any gradients, just if the expected
    # weights are equal. 4.5 standard errors: 40 samples in 12 cases, all within with p = 0.997.
    weights = weights_over_seeds(method, 800, **settings)
    means = weights.mean(1, keepdim=True)
    assert worst_z(weights - means) < 4.5
    if mean is not None:  # RandomPruning's share makes up for what was protected before
        assert worst_z(means - mean) < 4.5


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"always_keep": [0, N]}, "from 0 to 40; expected: ids of the 40 samples, from 0 to 39"),
        ({"always_keep": [-1]}, "from -1 to -1"),
        ({"always_keep": torch.ones(N, dtype=torch.bool)}, r"torch.bool.*mask\.nonzero"),
        ({"always_keep": [0.5]}, "float32.*whole numbers"),
        ({"always_keep": [[1, 2]]}, r"shape \(1, 2\).*one dimension"),
        ({"min_per_class": 2}, "min_per_class=2 without labels.*both or neither"),
        ({"labels": LABELS}, "min_per_class=0 with labels.*both or neither"),
        ({"min_per_class": -1}, "min_per_class=-1"),
        ({"min_per_class": 1, "labels": LABELS[:-1]}, r"39 labels.*40 samples.*order of the data"),
        ({"min_per_class": 1, "labels": LABELS.float()}, "labels of shape.*float32.*whole numbers"),
    ],
    ids=range(10),
)
def test_what_cannot_be_protected_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Pruner(Full(), epochs=3, num_samples=N, **settings)


def test_protecting_nobody_changes_nothing() -> None:
    for method in METHODS:
        for plain, protected in zip(plans(method), plans(method, always_keep=[]), strict=True):
            assert plain.ids.tolist() == protected.ids.tolist()
            assert plain.weights.tolist() == protected.weights.tolist()


def test_what_was_given_is_copied() -> None:
    ids = torch.tensor([3])
    pruner = Pruner(RandomPruning(prune_ratio=0.9), epochs=3, num_samples=N, always_keep=ids)
    ids.fill_(5)
    assert 3 in pruner.plan(0).ids.tolist()
