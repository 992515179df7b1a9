"""Plans of random ids and weights."""

from __future__ import annotations

from typing import Any

import torch

from thresher.plan import Plan


def plan_of(size: int, seed: int = 0, num_samples: int | None = None) -> Plan:
    generator = torch.Generator().manual_seed(seed)
    total = num_samples or 2 * size + 1
    ids = torch.randperm(total, generator=generator)[:size]
    return Plan(
        epoch=0,
        ids=ids,
        weights=torch.rand(size, generator=generator) + 0.5,
        num_samples=total,
    )


def changed(plan: Plan, **changes: Any) -> Plan:
    values = {"ids": plan.ids.clone(), "weights": plan.weights.clone(), **changes}
    return Plan(epoch=0, num_samples=plan.num_samples, **values)
