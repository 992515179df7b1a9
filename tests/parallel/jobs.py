"""What the ranks of a test do; their processes import this, so it defines and does nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from contracts.drive import losses, named
from loops import Numbers
from thresher import Method, Plan, Pruner

Digest = tuple[int, int, int]
"""An epoch's plan: its number, its size, and its checksum."""


def digest(plan: Plan) -> Digest:
    return plan.epoch, len(plan), plan.checksum()


def wrapped(
    method: Method,
    num_samples: int,
    batch_size: int,
    *,
    epochs: int,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    remainder: Any = None,
    pruner: Pruner | None = None,
    **loader: Any,
) -> tuple[Pruner, Any]:
    """A pruner and its loader over numbers, with the sampler that DDP asks for."""
    pruner = pruner or Pruner(method, epochs=epochs, seed=seed, **(settings or {}))
    data = Numbers(num_samples)
    if dist.is_initialized():
        loader = {"sampler": DistributedSampler(data), **loader}
    else:
        loader = {"shuffle": True, **loader}
    return pruner, pruner.wrap(DataLoader(data, batch_size, **loader), remainder=remainder)


def epoch_of(pruner: Pruner, loader: Any, table: Tensor) -> tuple[Digest, list[list[int]]]:
    """Train one epoch on scores from a table by (epoch, id); its plan, and this rank's batches."""
    epoch, batches = pruner.epoch, []
    for ids in loader:
        scores = named(pruner.method, table[epoch][ids])
        pruner.reduce(scores["loss"], scores=scores)
        batches.append(ids.tolist())
    return digest(pruner.plan(epoch)), batches


def plans(
    rank: int, methods: list[Method], num_samples: int, global_size: int, epochs: int, threads: int
) -> list[list[Digest]]:
    """The plans of whole runs on made-up scores, one run for each method."""
    torch.set_num_threads(threads)
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    table = losses(num_samples, epochs)
    found = []
    for method in methods:
        pruner, loader = wrapped(method, num_samples, global_size // world_size, epochs=epochs)
        found.append([epoch_of(pruner, loader, table)[0] for _ in range(epochs)])
    return found


def model() -> torch.nn.Linear:
    """A linear model that is the same wherever it is made."""
    linear = torch.nn.Linear(3, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.linspace(-1, 1, 6).view(2, 3))
        linear.bias.zero_()
    return linear


def features(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and classes of samples, by their ids."""
    x = torch.stack([torch.frac(ids * c) for c in (0.618034, 0.414214, 0.732051)], 1).float()
    return x, ids % 2


def gradients(
    rank: int, methods: list[Method], num_samples: int, global_size: int, epochs: int, options: Any
) -> list[list[Tensor]]:
    """Every step's gradient, averaged over the ranks as DDP does: one list for each method."""
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    found = []
    for method in methods:
        batch_size = global_size // world_size
        pruner, loader = wrapped(method, num_samples, batch_size, epochs=epochs, **options)
        linear, steps = model(), list[Tensor]()
        for _ in range(epochs):
            for ids in loader:
                x, y = features(ids)
                each = torch.nn.functional.cross_entropy(linear(x), y, reduction="none")
                scores = named(method, (ids + 1).float())
                loss = pruner.reduce(each, scores={**scores, "loss": (ids + 1).float()})
                linear.zero_grad()
                loss.backward()
                gradient = torch.cat([p.grad.reshape(-1) for p in linear.parameters()])  # type: ignore[union-attr]
                if world_size > 1:
                    dist.all_reduce(gradient)
                steps.append(gradient / world_size)
        found.append(steps)
    return found
