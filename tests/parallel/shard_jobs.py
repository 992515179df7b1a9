"""What ranks with a shard each do in tests; their processes import this, so it only defines."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from contracts.drive import losses, named
from parallel import jobs
from thresher import Method, Pruner


def run(
    method: Method, num_samples: int, batch_size: int, table: Tensor, **options: Any
) -> list[dict[str, Any]]:
    """Of each epoch this rank's plan, batches, and what `len` said before it."""
    settings = {"shard": True, **options.pop("settings", {})}
    pruner, loader = jobs.wrapped(
        method, num_samples, batch_size, epochs=len(table), settings=settings, **options
    )
    found = []
    for epoch in range(len(table)):
        length = len(loader)
        _, batches = jobs.epoch_of(pruner, loader, table)
        plan = pruner.plan(epoch)
        found.append(
            {
                "ids": plan.ids.tolist(),
                "planned": plan.num_planned,
                "length": length,
                "batches": batches,
            }
        )
    return [*found, {"report": pruner.report()}]


def runs(
    rank: int, methods: list[Method], num_samples: int, batch_size: int, epochs: int, options: Any
) -> list[Any]:
    table = losses(num_samples, epochs)
    return [run(method, num_samples, batch_size, table, **dict(options)) for method in methods]
