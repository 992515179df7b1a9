"""Weighted sums of per-sample gradients against one backward pass a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thresher.diagnostics import gradient_sums
from thresher.errors import DatasetChangedError, ScalarLossError, SettingError

SIZE = 7


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SIZE, 1, 6, 6, generator=generator), torch.arange(SIZE) % 3


def network() -> nn.Module:
    """Every layer whose training mode would mix samples, or draw."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
        model(torch.randn(20, 1, 6, 6))  # running statistics that are not the initial ones
    return model


def cross_entropy(model: Callable[..., Any], batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def one_by_one(model: nn.Module, weights: Tensor) -> Tensor:
    """The same sums with a backward pass for each sample."""
    x, y = data()
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parameters = [each for each in model.parameters() if each.requires_grad]
    rows = []
    for i in range(SIZE):
        gradients = torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters
        )
        rows.append(torch.cat([each.flatten() for each in gradients]))
    for module, mode in modes:
        module.training = mode
    return weights.double() @ torch.stack(rows).double()


WEIGHTS = torch.rand(4, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
@pytest.mark.parametrize("batch_size", [2, SIZE])
def test_sums_are_those_of_single_backward_passes(chunk_size: int, batch_size: int) -> None:
    model = network()
    batches = zip(*(each.split(batch_size) for each in data()), strict=True)
    ours = gradient_sums(model, cross_entropy, batches, WEIGHTS, chunk_size=chunk_size)
    assert ours.dtype == torch.float64
    assert torch.allclose(ours, one_by_one(model, WEIGHTS), rtol=1e-4, atol=1e-6)


def test_parameters_that_do_not_train_have_no_gradient() -> None:
    model = network()
    for each in list(model.parameters())[:4]:
        each.requires_grad_(False)
    ours = gradient_sums(model, cross_entropy, [data()], WEIGHTS)
    assert ours.shape == (4, 64 * 3 + 3)
    assert torch.allclose(ours, one_by_one(model, WEIGHTS), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("unchanged_global_rng")
def test_the_model_is_left_as_it_was() -> None:
    model = network().train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient_sums(model, cross_entropy, [data()], WEIGHTS)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_comes_back_after_a_failure() -> None:
    model = network().train()
    with pytest.raises(ZeroDivisionError):
        gradient_sums(model, lambda *_: 1 // 0, [data()], WEIGHTS)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_batches_may_be_nested(kind: type) -> None:
    x, y = data()
    pairs = {"x": x, "y": [y]}
    batch = pairs if kind is dict else kind(pairs.values())

    def losses(model: Callable[..., Any], given: Any) -> Tensor:
        inputs, (targets,) = given.values() if kind is dict else given
        return F.cross_entropy(model(inputs), targets, reduction="none")

    model = network()
    ours = gradient_sums(model, losses, [batch], WEIGHTS)
    assert torch.allclose(ours, one_by_one(model, WEIGHTS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_another_number_of_samples_is_refused(size: int) -> None:
    with pytest.raises(DatasetChangedError, match=f"hold {SIZE} samples.*without drop_last"):
        gradient_sums(network(), cross_entropy, [data()], torch.ones(1, size))


def test_an_averaged_loss_is_refused() -> None:
    with pytest.raises(ScalarLossError, match="reduction='none'"):
        gradient_sums(
            network(), lambda model, b: F.cross_entropy(model(b[0]), b[1]), [data()], WEIGHTS
        )


def test_batches_that_are_none_are_refused() -> None:
    x, y = data()
    with pytest.raises(SettingError, match="a str in it"):
        gradient_sums(network(), cross_entropy, [(x, "label")], WEIGHTS)
    with pytest.raises(SettingError, match=r"\[6, 7\] samples"):
        gradient_sums(network(), cross_entropy, [(x, y[1:])], WEIGHTS)
    with pytest.raises(SettingError, match="chunk_size=0"):
        gradient_sums(network(), cross_entropy, [data()], WEIGHTS, chunk_size=0)
