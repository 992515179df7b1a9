"""Historical ranking: keep samples with a chance that grows with their gradient norm's rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from thresher import within
from thresher.ledger import Ledger
from thresher.methods._gradient_memory import PAPER, GradientMemory
from thresher.methods._method import Reference, require_within
from thresher.plan import Epoch, Selection


@final
@dataclass(frozen=True, kw_only=True)
class HistoricalRanking(GradientMemory):
    """In each large batch of B samples, keep rank r (from 0) with p = ((r + ½) / B)^β; weight 1.

    Ranks are those of SCORE, the average of γ_i² / den over a sample's visits that `Omission`
    remembers; β = 1 / κ - 1 makes Σ p = κ B (at κ = ½ exactly). The epoch's order is cut into large
    batches, on shards those of each, the last one smaller. Unseen and non-finite samples rank
    highest, ties at random.

    The source has two sentences: Selective Backprop with historical statistics, B = 2b. That it
    takes Omission's SCORE and ranks inside the large batch is our reading.

    Args:
        kappa: κ, the expected share to train on, when `prune_ratio` is not given.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
        large_batch: B in samples; twice the batch size in the paper.

    Guarantees: Σ p is within 1 % of κ B for B >= 64 and κ <= 0.9. Not for the mean loss: it follows
        Σ u^β ℓ / Σ u^β, with u the rank's quantile.
    Cost: 4 bytes a sample, and a logit-gradient norm per trained sample.

    Example:
        >>> from thresher import HistoricalRanking, Pruner
        >>> pruner = Pruner(HistoricalRanking(kappa=0.5), epochs=9, num_samples=10_000)
        >>> 4800 < len(pruner.plan(0)) < 5200
        True

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §5;
        Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers, 2019.
    """

    large_batch: int = 256

    unbiased_for: ClassVar[str] = "the gradient of losses weighted by the quantile of their rank"
    reference: ClassVar[Reference] = PAPER

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "large_batch", "[1, inf)", "samples of a large batch")

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        beta, order = 1 / self.share(epoch) - 1, epoch.order(ledger.everyone)
        score, kept = ledger["score"].numpy(), np.empty(len(order), dtype=np.bool_)
        ties, uniforms = (epoch.draws.generator(name) for name in ("ties", "selection"))
        for ids, is_kept in within.large_batches(self.large_batch, order.numpy(), kept):
            ranks, size = within.ranks(score.take(ids), ties), ids.shape[1]
            chance = ((np.arange(size) + 0.5) / size) ** beta
            u = torch.rand(ids.shape, generator=uniforms, dtype=torch.float64, device="cpu")
            np.less(u.numpy(), chance.take(ranks), out=is_kept)
        return Selection(kept=torch.from_numpy(kept), order=order)
