"""Whole runs below the loop, with made-up scores."""

from __future__ import annotations

from typing import Any

import torch

from thresher import Method, Pruner

N = 40


def run(method: Method, *, epochs: int = 5, broken: float = 0.0, **settings: Any) -> Pruner:
    """A whole run below the loop; `broken` is what sample 7's score is, if not 0."""
    pruner = Pruner(method, epochs=epochs, num_samples=N, **settings)
    for epoch in range(epochs):
        plan = pruner.plan(epoch)
        scores = torch.frac((plan.ids + 1) * 0.618034)
        if broken:
            scores[plan.ids == 7] = broken
        pruner.observe(plan.ids, scores)
    return pruner
