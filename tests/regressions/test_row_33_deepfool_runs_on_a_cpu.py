"""DeepCore's DeepFool adds in place to a leaf that requires a gradient, which a CPU refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thresher.static import DeepFool, collect


def test_the_fault_shows_with_this_torch() -> None:
    leaf = torch.zeros(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place"):
        leaf += 1


def test_deepfool_keeps_who_is_nearest_to_a_boundary() -> None:
    # Two classes, x > 0 and x < 0: the distance of a sample is |x|.
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    inputs = torch.tensor([[3.0], [-0.5], [0.1], [-2.0], [1.0]])
    kept = inputs.clone()
    loader = DataLoader(TensorDataset(inputs, torch.zeros(5).long()), 2, shuffle=True)
    data = collect(model, loader, needs=DeepFool.needs)
    assert data.scores["deepfool"].tolist() == pytest.approx([9.0, 0.25, 0.01, 4.0, 1.0], rel=1e-5)
    ids, _ = DeepFool().select(data, prune_ratio=0.4)
    assert ids.tolist() == [2, 1, 4]
    assert torch.equal(inputs, kept)
    assert model.weight.grad is None
