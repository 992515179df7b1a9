"""Omission: keep samples with the variance-optimal chance of their remembered gradient norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch

from thresher import draws
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_one_of, require_within
from thresher.plan import Epoch, Plan, Runs, Selection, Trace
from thresher.weights import inverse_probability


@final
@dataclass(frozen=True, kw_only=True)
class Omission(Method):
    """Draw once per epoch with p_i = min(a_i / c, 1), Σ p_i = κ n, and weight the loss by κ / p_i.

    a_i = sqrt((1 - α) SCORE_i + α mean SCORE) minimises the variance of the weighted gradient
    (Theorem 1), and p_i >= κ sqrt(α). SCORE_i averages γ_i² / den over the sample's visits (decay
    β₁): γ_i is its logit-gradient norm, den the average over steps (decay β₂, corrected as Adam's)
    of the population mean of γ², estimated as mean_j w_j γ_j². The first visit sets SCORE_i; unseen
    or with a non-finite norm it is neutral, 1.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        alpha: α, smooths scores towards their mean. At 0 (ablation) a score of 0 never trains more.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
        sampling: "systematic" has a fixed size, "bernoulli" draws independently. (The paper draws
            until a size is filled, which changes p_i.)

    Guarantees: with α > 0, unbiased for the mean gradient whatever the scores; w_i <= 1 / sqrt(α).
    Cost: 4 bytes a sample, and a logit-gradient norm per trained sample.

    Example:
        >>> from thresher import Omission, Pruner
        >>> len(Pruner(Omission(kappa=0.2), epochs=9, num_samples=100).plan(0))
        20

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §3.
    """

    kappa: float = 0.5
    alpha: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    sampling: Literal["systematic", "bernoulli"] = "systematic"

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
    scalars: ClassVar[dict[str, float]] = {"den": 0.0, "den_decay": 1.0}
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli "
        "Sampling",
        authors="Anonymous authors",
        year=2025,
        venue="ICLR submission",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "kappa", "(0, 1]", "a share to keep")
        require_within(self, "alpha", "[0, 1]", "a share")
        for name in ("beta_1", "beta_2"):
            require_within(self, name, "[0, 1)", "a decay")
        require_one_of(self, "sampling", "systematic", "bernoulli")

    def columns(self) -> tuple[Column, ...]:
        return (Column("score", torch.float32, np.nan),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, kappa = ledger.num_samples, self.kappa if epoch.target is None else 1 - epoch.target
        chance = ledger["score"].double().nan_to_num_(nan=1.0)  # unseen: the neutral SCORE
        mean = ledger.mean(chance)
        chance.mul_(1 - self.alpha).add_(self.alpha * mean).sqrt_()
        chance = draws.inclusion_probabilities(chance, kappa * n)
        if self.sampling == "bernoulli":
            kept = draws.bernoulli(chance, epoch.draws.uniform(n, "selection", torch.float64))
        else:
            offset = epoch.draws.uniform(1, "systematic offset", dtype=torch.float64).item()
            kept = draws.systematic(chance, epoch.draws.permutation(n, "systematic order"), offset)
        # Without smoothing a chance can be 0; its weight is finite, and never used.
        weights = inverse_probability(chance.clamp_(min=1e-30), kappa)
        return Selection(kept=kept, weights=weights, certain_weight=kappa)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        norm, runs, seen = trace.scores["logit_grad_norm"].numpy(), trace.runs, trace.seen.numpy()
        ids, weights, column = plan.ids.numpy(), plan.weights.numpy(), ledger["score"].numpy()
        used = np.isfinite(norm) & seen
        if not used.all():
            column[ids[seen & ~used]] = np.nan
            runs = Runs(trace.step.numpy().compress(used))
            norm, ids, weights = (x.compress(used) for x in (norm, ids, weights))
        weighted = np.square(norm, dtype=np.float64) * weights / plan.scale
        scale = self._scales(ledger, runs, runs.sums(weighted)).take(runs.step)
        scale[scale <= 0] = 1  # while all norms are 0, so are scores
        for places, of_runs, sizes in runs.pieces():
            score = np.square(norm[places], dtype=np.float64) / np.repeat(scale[of_runs], sizes)
            old = column.take(ids[places])
            average = np.float64(self.beta_1) * old + (1 - self.beta_1) * score
            column[ids[places]] = np.where(np.isnan(old), score, average)

    def _scales(self, ledger: Ledger, runs: Runs, weighted: np.ndarray) -> np.ndarray:
        """Return den after each optimizer step, bias-corrected: float64, shape (steps,)."""
        total, count = np.bincount(runs.step, weighted), np.bincount(runs.step, runs.sizes)
        average, decay, scale = ledger.scalars["den"], ledger.scalars["den_decay"], total * 0.0
        for t in np.flatnonzero(count).tolist():
            average = self.beta_2 * average + (1 - self.beta_2) * float(total[t] / count[t])
            decay *= self.beta_2
            scale[t] = average / (1 - decay)
        ledger.scalars.update(den=average, den_decay=decay)
        return scale
