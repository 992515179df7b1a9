"""Pruners below the loop, new or trained for some micro-batches."""

from __future__ import annotations

from typing import Any

import torch

from thresher import InfoBatch, Method, Pruner

N = 20


def trained(pruner: Pruner, calls: int = 3) -> Pruner:
    """Observe `calls` micro-batches of 10 samples, over as many epochs as they fill."""
    for call in range(calls):
        plan = pruner.plan(pruner.epoch)
        ids = plan.ids[pruner.position :][:10]
        pruner.observe(ids, torch.frac((ids + call) * 0.618034).float())
    return pruner


def built(method: Method | None = None, **settings: Any) -> Pruner:
    settings = {"epochs": 5, "num_samples": N, **settings}
    return Pruner(method or InfoBatch(), **settings)
