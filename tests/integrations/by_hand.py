"""A small task, and what a hand-written Thresher loop in one process makes of it."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from thresher import InfoBatch, Method, Pruner

SIZE, BATCH, EPOCHS = 53, 4, 5

Epochs = dict[int, list[list[int]]]
"""The ids of each batch, by epoch."""


class Trained(NamedTuple):
    """What a run leaves.

    Args:
        batches: this rank's.
        planned: the size of each epoch's plan.
        rates: the learning rate at the end of each epoch.
        weights: of the model at the end.
        leftover: the largest gradient that an epoch left behind.
        state: of the pruner at the end.
    """

    batches: Epochs
    planned: list[int]
    rates: list[float]
    weights: Tensor
    leftover: float
    state: dict[str, Any]


def data() -> TensorDataset:
    """Samples that carry their ids."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.arange(SIZE)
    return TensorDataset(ids, torch.randn(SIZE, 3, generator=generator), ids % 2)


def network() -> nn.Linear:
    """A classifier that is the same wherever it is made."""
    linear = nn.Linear(3, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.linspace(-1, 1, 6).view(2, 3))
        linear.bias.zero_()
    return linear


def losses_of(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y, reduction="none")


def optimizer_of(model: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """An optimizer, and a schedule that ends at 0 after `steps`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer, LambdaLR(optimizer, lambda step: 1 - step / steps)


def pruner_of(
    accumulation: int = 1, method: Method | None = None, *, shard: bool = False
) -> Pruner:
    method = method or InfoBatch(prune_ratio=0.3)
    return Pruner(method, epochs=EPOCHS, accumulation_steps=accumulation, seed=3, shard=shard)


def steps_of(batch_size: int, accumulation: int) -> int:
    """Optimizer steps of an unpruned run."""
    return ceil(ceil(SIZE / batch_size) / accumulation) * EPOCHS


def by_hand(
    batch_size: int = BATCH, accumulation: int = 1, method: Method | None = None, calls: int = 1
) -> Trained:
    """Train with a loop of one's own, whose scheduler makes so many steps in one of training."""
    model, pruner = network(), pruner_of(accumulation, method)
    optimizer, schedule = optimizer_of(model, calls * steps_of(batch_size, accumulation))
    loader = pruner.wrap(DataLoader(data(), batch_size, shuffle=True))
    scheduler = pruner.pace(schedule)
    scheduler.calls_per_step = calls
    batches, rates = Epochs(), list[float]()
    for epoch in range(EPOCHS):
        batches[epoch], length = [], len(loader)
        for number, (ids, x, y) in enumerate(loader, 1):
            batches[epoch].append(ids.tolist())
            (pruner.reduce(losses_of(model, x, y)) / accumulation).backward()
            if number % accumulation == 0 or number == length:
                optimizer.step()
                optimizer.zero_grad()
                for _ in range(calls):
                    scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return trained(batches, pruner, rates, model, 0.0)


def trained(
    batches: Epochs, pruner: Pruner, rates: list[float], model: nn.Module, leftover: float
) -> Trained:
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    planned = [row.planned for row in pruner.report().rows]
    return Trained(batches, planned, rates, weights, leftover, pruner.state_dict(gather=True))


def largest_gradient(model: nn.Module) -> float:
    return max(0.0 if p.grad is None else p.grad.abs().max().item() for p in model.parameters())


def ids_of(runs: list[Trained], epoch: int) -> list[int]:
    """What all ranks trained in an epoch, with what was repeated to fill the last batch."""
    return [id_ for run in runs for batch in run.batches.get(epoch, []) for id_ in batch]


def require_same(runs: list[Trained], whole: Trained, *, rates: list[float], exact: bool) -> None:
    """Compare the ranks of a run with the hand-written one."""
    for run in runs:
        assert run.planned == whole.planned
        assert run.rates == rates == whole.rates
        assert run.leftover == 0
        assert torch.equal(run.weights, runs[0].weights)
        assert torch.allclose(run.weights, whole.weights, rtol=0, atol=0 if exact else 1e-6)
    for epoch, planned in enumerate(whole.planned):
        ids = ids_of(runs, epoch)
        for number, batch in enumerate(whole.batches[epoch][:-1]):
            assert [id_ for run in runs for id_ in run.batches[epoch][number]] == batch
        assert set(ids) == {id_ for batch in whole.batches[epoch] for id_ in batch}
        assert len(set(ids)) == planned, "no more and no fewer than planned"
        assert len(ids) < planned + len(runs), "copies only fill the last batch"


def designed(batch_size: int, accumulation: int) -> list[float]:
    """The rate at the end of each epoch of an unpruned run."""
    steps = steps_of(batch_size, accumulation)
    return [0.1 * (1 - (epoch + 1) * (steps // EPOCHS) / steps) for epoch in range(EPOCHS)]
