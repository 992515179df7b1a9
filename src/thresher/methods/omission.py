"""Omission: keep samples with the variance-optimal chance of their remembered gradient norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher import draws, within
from thresher.ledger import Ledger
from thresher.methods._gradient_memory import PAPER, GradientMemory, neutral, smoothed
from thresher.methods._method import Reference, require_one_of, require_within
from thresher.plan import Epoch, Selection
from thresher.weights import inverse_probability


@final
@dataclass(frozen=True, kw_only=True)
class Omission(GradientMemory):
    """Draw with p_i = min(a_i / c, 1), Σ p_i = κ n, and weight the loss of i by κ / p_i.

    a_i = sqrt((1 - α) SCORE_i + α mean SCORE) minimises the variance of the weighted gradient
    (Theorem 1), and p_i >= κ sqrt(α). SCORE_i averages γ_i² / den over the sample's visits (decay
    β₁): γ_i is its logit-gradient norm, den the average over steps (decay β₂, corrected as Adam's)
    of the population mean of γ², estimated as mean_j w_j γ_j². The first visit sets SCORE_i; unseen
    or with a non-finite norm it is neutral, 1.

    The paper has two forms: one draw for an epoch, the default, or one for each large batch of B
    samples, with its own mean, c and Σ p_i = κ B. The epoch's order is then cut into large batches,
    the last one smaller; κ / p_i over the trained is the paper's 1 / p_i over B. On shards each
    has large batches of its own.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
        alpha: α, smooths scores towards their mean. At 0 (ablation) a score of 0 never trains more.
        sampling: "systematic" has a fixed size, in each large batch too if κ B is whole;
            "bernoulli" draws independently. (The paper draws until a size is filled, which changes
            p_i.)
        large_batch: B in samples; None draws once per epoch.

    Guarantees: with α > 0, unbiased for the mean gradient whatever the scores; w_i <= 1 / sqrt(α).
    Cost: 4 bytes a sample, and a logit-gradient norm per trained sample.

    Example:
        >>> from thresher import Omission, Pruner
        >>> len(Pruner(Omission(kappa=0.2), epochs=9, num_samples=100).plan(0))
        20

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §3.
    """

    alpha: float = 0.1
    sampling: Literal["systematic", "bernoulli"] = "systematic"
    large_batch: int | None = None

    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = PAPER

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "alpha", "[0, 1]", "a share")
        require_one_of(self, "sampling", "systematic", "bernoulli")
        if self.large_batch is not None:
            require_within(self, "large_batch", "[1, inf)", "samples of a large batch, or None")

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        rows, over, kappa = ledger.num_rows, ledger.population, self.share(epoch)
        # With large batches everything lies in the epoch's order, which they are cut from.
        order = None if self.large_batch is None else epoch.order(ledger.everyone)
        if order is None:
            a = neutral(ledger["score"].numpy())
            a = smoothed(a, ledger.mean(torch.from_numpy(a)), self.alpha)
            chance = draws.inclusion_probabilities(
                torch.from_numpy(a), kappa * ledger.num_samples, over
            )
            del a
        else:
            chance = self._chances(ledger, order, kappa)
        if self.sampling == "bernoulli":
            kept = draws.bernoulli(chance, epoch.draws.uniform(rows, "selection", torch.float64))
        else:
            # Σ p is κ B over each large batch, so as they lie each has its number. Without them an
            # order inside blocks will do, as the sum runs on from one to the next.
            local = epoch.draws.local_order(rows, "systematic order") if order is None else None
            offset = epoch.draws.number("systematic offset")
            kept = draws.systematic(chance, local, offset, over)
        # Without smoothing a chance can be 0; its weight is finite, and never used.
        weights = inverse_probability(chance.clamp_(min=1e-30), kappa)
        return Selection(kept=kept, weights=weights, order=order, certain_weight=kappa)

    def _chances(self, ledger: Ledger, order: Tensor, kappa: float) -> Tensor:
        """Return p in the epoch's order, solved in each large batch by itself."""
        score, chance = ledger["score"].numpy(), np.empty(ledger.num_rows)
        for ids, p in within.large_batches(self.large_batch or 1, order.numpy(), chance):
            a = neutral(score.take(ids))
            a = smoothed(a, a.mean(axis=1, keepdims=True), self.alpha)
            p[:] = within.probabilities(a, kappa)
        return torch.from_numpy(chance)
