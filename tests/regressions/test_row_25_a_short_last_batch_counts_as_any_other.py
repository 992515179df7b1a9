"""DeepCore takes per-sample gradients of a loss that is averaged over the batch first.

Each is then divided by the batch's size, so that with 50,000 samples in batches of 256 the 80 of
the last batch come out 3.2 times too large, and are kept first.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from thresher.static import GraND, collect

SIZE = 50


def model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 4)
        )


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SIZE, 1, 4, generator=generator)
    return TensorDataset(inputs, torch.randint(4, (SIZE,), generator=generator))


def norms_by_autograd(network: nn.Module, last: bool) -> Tensor:
    """The gradient norm of each sample's own loss, one backward pass each."""
    network.eval()
    parameters = list(network.parameters())[-2 if last else 0 :]
    found = []
    for x, y in data():
        loss = F.cross_entropy(network(x[None]), y[None])
        gradients = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    return torch.stack(found)


@pytest.mark.parametrize("batch_size", [16, 7, 1, 50])
@pytest.mark.parametrize("method", [GraND(), GraND(parameters="last_layer")], ids=repr)
def test_norms_are_each_samples_own(method: GraND, batch_size: int) -> None:
    network = model()
    loader = DataLoader(data(), batch_size, shuffle=True, drop_last=True)
    score = method.score(collect(network, loader, needs=method.wants()))
    expected = norms_by_autograd(network, last=method.parameters == "last_layer")
    assert torch.allclose(score, expected, rtol=1e-4, atol=1e-6)


def test_chunks_change_no_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect(model(), DataLoader(data(), 16), needs=GraND.needs).scores["grand"]
    monkeypatch.setattr("thresher.static.full_gradients._CHUNK_ELEMENTS", 200)
    parts = collect(model(), DataLoader(data(), 16), needs=GraND.needs).scores["grand"]
    assert torch.allclose(parts, whole, rtol=1e-5)


def test_frozen_parameters_have_no_gradient() -> None:
    network = model()
    for parameter in list(network.parameters())[:-2]:
        parameter.requires_grad_(False)
    scores = collect(network, DataLoader(data(), 16), needs=("grand", "grand_last_layer")).scores
    assert torch.allclose(scores["grand"], scores["grand_last_layer"], rtol=1e-4)
