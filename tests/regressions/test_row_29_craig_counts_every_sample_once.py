"""DeepCore's CRAIG gives each chosen sample weight 1 and adds 1 for each it stands for, itself too.

Σ w is n + |S| then: 8 for 6 samples of which 2 are chosen. The paper's γ_j counts the samples that
j is nearest to, and Σ γ = n.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from static.dense import distances, gradients
from static.found import made_up
from thresher.static import CRAIG, Collected


def published_weights(nearest: Tensor, chosen: Tensor) -> Tensor:
    weights = torch.ones(len(chosen))
    return weights.index_add_(0, nearest, torch.ones(len(nearest)))


def members(data: Collected, ids: Tensor, weights: Tensor) -> None:
    """Every class for itself: the weights are how many lie nearest to each chosen one."""
    assert data.labels is not None
    assert float(weights.sum()) == data.num_samples
    away = distances(gradients(data))
    for label in data.labels.unique():
        of_class = (data.labels == label).nonzero()[:, 0]
        of_chosen = data.labels[ids] == label
        nearest = away[of_class][:, ids[of_chosen]].argmin(1)
        counts = torch.bincount(nearest, minlength=int(of_chosen.sum()))
        assert weights[of_chosen].tolist() == counts.tolist()


def six() -> Collected:
    """Two groups of three alike."""
    features = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    return Collected(
        labels=torch.zeros(6, dtype=torch.int64),
        num_classes=2,
        features=features,
        probabilities=torch.tensor([[0.5, 0.5]]).expand(6, 2),
    )


def test_the_fault_shows() -> None:
    weights = published_weights(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([1, 4]))
    assert float(weights.sum()) == 8


def test_six_samples_have_a_weight_of_six() -> None:
    ids, weights = CRAIG().select(six(), prune_ratio=2 / 3)
    assert sorted(i // 3 for i in ids.tolist()) == [0, 1]
    assert weights.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 0.95])
def test_weights_add_up_to_all_samples(ratio: float, balanced: bool) -> None:
    data = made_up(80)
    ids, weights = CRAIG(balanced=balanced).select(data, prune_ratio=ratio)
    assert len(ids) == max(1, round(80 * (1 - ratio)))
    assert float(weights.sum()) == 80
    assert float(weights.min()) >= 1, "who is chosen stands for itself"


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_is_the_number_of_samples_that_are_nearest(seed: int) -> None:
    data = made_up(70, seed=seed)
    members(data, *CRAIG().select(data, prune_ratio=0.8))


def test_the_weighted_gradient_is_off_by_no_more_than_the_distances() -> None:
    """What the weights are for; with n + |S| in all, the sum would be too long."""
    data = made_up(60)
    ids, weights = CRAIG().select(data, prune_ratio=0.5)
    rows = gradients(data)
    error = (weights.double() @ rows[ids] - rows.sum(0)).norm()
    assert data.labels is not None
    other_class = data.labels[:, None] != data.labels[ids]
    bound = distances(rows)[:, ids].masked_fill(other_class, torch.inf).amin(1).sum()
    assert float(error) <= float(bound) * (1 + 1e-9)
    too_long = ((weights.double() + 1) @ rows[ids] - rows.sum(0)).norm()
    assert float(error) < float(too_long)
