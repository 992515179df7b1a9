"""`collect` leaves model, loader, pruner and randomness as they were."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from static.small_network import EVERYTHING, SIZE, network, samples
from thresher import Full, Pruner
from thresher.static import Collected, collect


class Restless(nn.Module):
    """Draws and writes to a buffer, and replaces another, even in eval mode."""

    count: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.last = torch.ones(2)
        return x + 0 * torch.rand(())


class Drawing(Dataset[Any]):
    """Augments by each of the global random streams."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Any:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))  # noqa: NPY002
        x, y = samples()[index]
        return x + 1e-9 * noise, y


@pytest.mark.usefixtures("unchanged_global_rng")
def test_model_loader_and_randomness_are_left_alone() -> None:
    model = nn.Sequential(Restless(), network())
    model.train()
    model[1][1].eval()  # a frozen layer stays frozen, the others stay in training
    modes = [module.training for module in model.modules()]
    count, last = model[0].count, model[0].last
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(Drawing(), 8, shuffle=True, drop_last=True, generator=generator)
    before, drawn = dict(vars(loader)), generator.get_state()
    collect(model, loader, needs=EVERYTHING)
    assert [module.training for module in model.modules()] == modes
    assert model[0].count is count
    assert model[0].last is last
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert vars(loader) == before
    assert torch.equal(generator.get_state(), drawn)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.usefixtures("unchanged_global_rng")
def test_everything_is_put_back_after_an_exception() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.rand(())
            raise FloatingPointError("broken")

    model = nn.Sequential(network(), Failing()).train()
    with pytest.raises(FloatingPointError):
        collect(model, DataLoader(samples(), 8))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_that_overrides_train_is_not_called() -> None:
    """One that merges adapters when it is evaluated, say, would leave other weights behind."""

    class Merging(nn.Linear):
        def train(self, mode: bool = True) -> Merging:
            raise AssertionError("called")

    model = nn.Sequential(Merging(4, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    first, again = (collect(model, DataLoader(samples(), 8), needs=("features",)) for _ in range(2))
    assert first.features is not None
    assert again.features is not None
    assert torch.equal(first.features, again.features), "dropout is off"
    assert all(module.training for module in model.modules())


def test_a_graph_built_before_survives() -> None:
    """A write to a buffer that autograd has saved would make backward fail."""
    model = network().eval()
    loss = model(samples().tensors[0]).sum()
    collect(model, DataLoader(samples(), 8))
    loss.backward()
    assert model[0].weight.grad is not None


def test_a_subclass_of_the_loader_keeps_its_own_iteration() -> None:
    class Doubled(DataLoader[Any]):
        def __iter__(self) -> Any:
            return ((2 * x, y) for x, y in super().__iter__())

    model = nn.Linear(4, 3)
    data = collect(model, Doubled(samples(), 8, shuffle=True))
    assert data.features is not None
    assert torch.equal(data.features, 2 * samples().tensors[0])


def test_a_wrapped_pruner_is_not_disturbed() -> None:
    """Collecting between two batches of a run, from the loader that was not wrapped."""
    plain = DataLoader(samples(), 8)
    pruner = Pruner(Full(), epochs=3)
    loader = pruner.wrap(plain)
    for number, (x, _) in enumerate(loader):
        if number == 2:
            collect(network(), plain)
        pruner.reduce(x.sum(1))
    assert pruner.epoch == 1
    assert isinstance(collect(network(), plain), Collected)
