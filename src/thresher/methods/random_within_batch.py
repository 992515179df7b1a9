"""Random within a large batch (B → b): the control that the Omission paper compares with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from thresher import within
from thresher.ledger import Ledger
from thresher.methods._gradient_memory import PAPER
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Selection


@final
@dataclass(frozen=True, kw_only=True)
class RandomWithinBatch(Method):
    """Of each large batch of B samples train on b, drawn uniformly without replacement; weight 1.

    The epoch's order, on shards that of each, is cut into large batches, the last one smaller. In
    all q = round(κ n) samples are trained, κ = b / B: a large batch gives its share of them,
    rounded up or down at random.

    Args:
        kappa: κ = b / B, the share to train on, when `prune_ratio` is not given.
        large_batch: B in samples; twice the batch size in the paper.

    Guarantees: unbiased for the mean gradient, over the draws of an epoch; the size is exact.
    Cost: no memory.

    Example:
        >>> from thresher import Pruner, RandomWithinBatch
        >>> len(Pruner(RandomWithinBatch(large_batch=8), epochs=9, num_samples=100).plan(0))
        50

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §5
        ("Random").
    """

    kappa: float = 0.5
    large_batch: int = 256

    needs: ClassVar[tuple[str, ...]] = ()
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = PAPER

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "kappa", "(0, 1]", "a share to keep")
        require_within(self, "large_batch", "[1, inf)", "samples of a large batch")

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, size = ledger.num_samples, self.large_batch
        kappa = self.kappa if epoch.target is None else 1 - epoch.target
        total = max(1, round(kappa * n))
        rows = ledger.num_rows
        sizes = np.diff(np.append(np.arange(0, rows, size), rows))
        offset = epoch.draws.number("rounding")
        quotas = within.quotas(sizes, total, offset, ledger.population)
        generator, ties = epoch.draws.generator("selection"), epoch.draws.generator("ties")
        order, kept = epoch.order(ledger.everyone), np.empty(rows, dtype=np.bool_)
        for ids, is_kept in within.large_batches(size, order.numpy(), kept):
            chance = torch.rand(ids.shape, generator=generator, dtype=torch.float32, device="cpu")
            ranks = within.ranks(chance.numpy(), ties)
            quota, quotas = quotas[: len(ids)], quotas[len(ids) :]
            np.less(ranks, quota[:, None], out=is_kept)
        kept = torch.from_numpy(kept)
        return Selection(kept=kept, order=order, certain_weight=total / n)
