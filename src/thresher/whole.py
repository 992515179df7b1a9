"""A run's state by sample: of one shard, or of all samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from thresher.parallel.exchange import Exchange
from thresher.pending import plan_of
from thresher.plan import Plan
from thresher.shard import Shard


def united(state: Mapping[str, Any], plan: Plan, exchange: Exchange) -> dict[str, Any]:
    """Return the state of all samples from that of each shard, the epoch's plan included.

    Every rank has to call it, and holds all samples then.

    Cost: all that is remembered of a shard's samples, handed to every rank.
    """
    count = plan.shard.count
    most = Shard(0, count).num_rows(plan.num_samples)

    def joined(rows: Tensor) -> Tensor:
        # As bytes: not every backend, nor numpy, has every dtype.
        own = torch.zeros(most, dtype=rows.dtype, device="cpu")
        own[: len(rows)] = rows
        parts = torch.from_numpy(exchange.gather(own.view(torch.uint8).numpy()))
        table = parts.view(count, most, -1).swapaxes(0, 1).contiguous()
        return table.view(rows.dtype).view(-1)[: plan.num_samples].clone()

    return _changed({**state, "planned": plan_of(plan)}, joined)


def part_of(state: dict[str, Any], shard: Shard, num_samples: int) -> dict[str, Any]:
    """Return what a shard has of a state of all samples; the state of a shard as it is."""

    def cut(values: Tensor) -> Tensor:
        is_whole = len(values) == num_samples
        return values[shard.index :: shard.count].clone() if is_whole else values

    return state if shard.count == 1 else _changed(state, cut)


def _changed(state: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Change all that has a row for each sample."""
    ledger, progress, planned = state["ledger"], state["progress"], state.get("planned")
    columns = {name: change(column) for name, column in ledger["columns"].items()}
    scores = {name: change(score) for name, score in progress["scores"].items()}
    changed = {
        **state,
        "ledger": {**ledger, "columns": columns},
        "progress": {**progress, "step": change(progress["step"]), "scores": scores},
    }
    if planned:
        changed["planned"] = {**planned, "weights": change(planned["weights"])}
    return changed
