"""What every plan must be, and when two ledgers are one."""

from __future__ import annotations

import torch

from thresher import Plan
from thresher.ledger import Ledger

SIZE = 61
"""A prime, so that no batch, window or share divides it."""


def require_valid(plan: Plan, size: int) -> None:
    """Ids unique and in range, at least one; weights one each, float32, positive and finite."""
    ids, weights = plan.ids, plan.weights
    assert ids.dtype == torch.int64
    assert 1 <= len(ids) <= size
    assert len(ids.unique()) == len(ids)
    assert int(ids.min()) >= 0
    assert int(ids.max()) < size
    assert weights.shape == ids.shape
    assert weights.dtype == torch.float32
    assert bool(weights.isfinite().all())
    assert bool((weights > 0).all())


def require_equal_ledgers(first: Ledger, second: Ledger) -> None:
    assert first.columns.keys() == second.columns.keys()
    for name, column in first.columns.items():
        assert torch.equal(column.nan_to_num(nan=-1e9), second[name].nan_to_num(nan=-1e9)), name
    assert first.scalars == second.scalars
