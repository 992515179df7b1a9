"""DeepCore's CAL keeps the smallest divergences, though contrastive examples have the largest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from static.found import made_up
from thresher.static import CAL, Collected


def literal(data: Collected, neighbours: int) -> Tensor:
    """The mean KL(p_j‖p_i) over the nearest others j, one pair after the other."""
    assert data.features is not None
    assert data.probabilities is not None
    h, p = data.features.double(), data.probabilities.double()
    found = []
    for i in range(len(h)):
        away = (h - h[i]).norm(dim=1)
        away[i] = torch.inf
        near = away.argsort()[:neighbours]
        found.append(torch.stack([(p[j] * (p[j] / p[i]).log()).sum() for j in near]).mean())
    return torch.stack(found)


@pytest.mark.parametrize("neighbours", [1, 4, 10])
def test_the_largest_divergences_are_kept(neighbours: int) -> None:
    data = made_up(50)
    divergence = literal(data, neighbours)
    ids, _ = CAL(neighbours=neighbours).select(data, prune_ratio=0.7)
    assert ids.tolist() == divergence.argsort(descending=True)[:15].tolist()


def test_who_differs_from_its_neighbours_is_kept() -> None:
    """Five places, five samples at each; at each of four places one says something else."""
    place = torch.arange(25) // 5
    features = place[:, None] * 10.0 + torch.arange(25)[:, None] % 5 * 0.1
    probabilities = torch.tensor([0.9, 0.1]).repeat(25, 1)
    odd = [3, 6, 14, 17]
    probabilities[odd] = torch.tensor([0.1, 0.9])
    data = Collected(features=features, probabilities=probabilities, num_classes=2)
    ids, _ = CAL(neighbours=4).select(data, prune_ratio=1 - 4 / 25)
    assert sorted(ids.tolist()) == odd


def test_the_order_of_the_fault_is_the_other_end() -> None:
    data = made_up(50)
    smallest = literal(data, 10).argsort()[:15].tolist()
    ids, _ = CAL().select(data, prune_ratio=0.7)
    assert not set(ids.tolist()) & set(smallest)
