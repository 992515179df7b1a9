"""InfoBatch: drop easy samples at random, and let the rest of them stand for all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from thresher import draws
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_share
from thresher.plan import Epoch, Plan, Selection, Trace

# Beyond this share of the easy samples, the few that stay would carry weights above 10.
_MOST = 0.9


@final
@dataclass(frozen=True, kw_only=True)
class InfoBatch(Method):
    """Drop a random share r of the samples whose last loss is below the mean; weight the others up.

    Of m samples below the mean of all stored losses, k = max(1, ⌊(1 - r) m⌋) stay, drawn uniformly,
    each with weight m / k; all others stay with weight 1, the unseen and the non-finite among them.
    So Σ w_i = n and the weighted gradient sum is unbiased. The published code uses 1 / (1 - r),
    which is off by up to 1 / ((1 - r) m), and always drops a single easy sample.
    Pruning stops after ⌊δE⌋ epochs; the first epoch has no losses yet and prunes nothing.

    With `prune_ratio`, r is solved for each epoch from the share of easy samples. r is at most 0.9
    then; a rate that would need more is not reached, and the report says so.

    Args:
        r: r, the share of the easy samples to drop, when `prune_ratio` is not given.

    Guarantees: Σ_S w_i g_i = Σ g_i in expectation, given the scores; the batch mean is (n/S) ḡ.
    Cost: 4 bytes a sample.

    Example:
        >>> from thresher import InfoBatch, Pruner
        >>> pruner = Pruner(InfoBatch(), epochs=8, num_samples=4)
        >>> pruner.observe(pruner.plan(0).ids, torch.tensor([1.0, 1.0, 1.0, 9.0]))
        >>> sorted(pruner.plan(1).weights.tolist())
        [1.0, 3.0]

    References:
        Qin et al., InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning,
        ICLR 2024.
    """

    delta: float = 0.875
    r: float = 0.5

    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    reference: ClassVar[Reference] = Reference(
        title="InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning",
        authors="Qin et al.",
        year=2024,
        venue="ICLR",
        arxiv="2303.04947",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("InfoBatch", "r", self.r)

    @property
    def first_prunable_epoch(self) -> int:
        return max(1, self.warmup_epochs)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, math.nan),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        loss = ledger["loss"]
        # Comparing with NaN is false, so what is unseen or broken counts as hard and is kept.
        mean = np.float64(ledger.mean(loss, where=~loss.isnan()))
        easy = torch.from_numpy(loss.numpy() < mean)
        num_easy = ledger.count(easy)
        r = self.r
        if epoch.target is not None and num_easy:
            r = min(epoch.target * ledger.num_samples / num_easy, _MOST)
        # The small term keeps a product such as (1 - 0.9) * 10 from falling below its integer.
        quota = min(num_easy, max(1, math.floor((1 - r) * num_easy + 1e-9)))
        keys = epoch.draws.uniform(ledger.num_rows, "selection", dtype=torch.float64)
        kept_easy = draws.exact_count(easy, quota, keys, over=ledger.population)
        weight = np.float32(num_easy / max(1, quota))
        weights = torch.from_numpy(np.where(kept_easy.numpy(), weight, np.float32(1)))
        return Selection(kept=kept_easy | ~easy, weights=weights, facts={"r": r})

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")
