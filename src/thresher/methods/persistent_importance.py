"""Online importance sampling with persistent importances (Salaün et al.)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from thresher import draws
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Plan, Selection, Trace
from thresher.weights import inverse_probability


@final
@dataclass(frozen=True, kw_only=True)
class PersistentImportance(Method):
    """Draw with chances proportional to importances that persist between visits, weight inversely.

    p_i = min((I_i + ε mean I) / c, 1) with Σ p_i = κ n, and the loss of i is weighted by κ / p_i.
    At a visit I_i ← α I_i + (1 - α) γ_i, γ_i its logit-gradient norm, taken from the training
    forward; the first visit sets it. The first epoch, without importances, trains on everything.
    Unseen and non-finite samples count as average.

    The paper draws batches with chances ∝ I, so that a sample can come twice in an epoch. Here an
    epoch is one systematic draw without repetition, its chances capped at 1 with a budget of κ n.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        alpha: α, decay of an importance, per visit.
        epsilon: ε, added to all importances, as a share of their mean. Ours, as is its value.

    Guarantees: unbiased for the mean gradient, whatever the importances. Weights go up to 1 / ε or
        so, where an importance has come to lie near 0: `max_weight` bounds them.
    Cost: 4 bytes a sample, and a logit-gradient norm per trained sample.

    Example:
        >>> from thresher import PersistentImportance, Pruner
        >>> pruner = Pruner(PersistentImportance(kappa=0.5), epochs=9, num_samples=4)
        >>> norms = {"logit_grad_norm": torch.tensor([1.0, 1.0, 0.1, 0.1])}
        >>> pruner.observe(pruner.plan(0).ids, norms)
        >>> len(pruner.plan(1))
        2

    References:
        Salaün et al., Online Importance Sampling for Stochastic Gradient Optimization, 2023;
        "Salaun et al." in the RePB paper, Table 9.
    """

    kappa: float = 0.5
    alpha: float = 0.2
    epsilon: float = 1e-3

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Online Importance Sampling for Stochastic Gradient Optimization",
        authors="Salaün et al.",
        year=2023,
        arxiv="2311.14468",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "kappa", "(0, 1]", "a share to keep")
        require_within(self, "alpha", "[0, 1)", "a decay")
        require_within(self, "epsilon", "(0, inf)", "a share of the mean importance")

    @property
    def first_prunable_epoch(self) -> int:
        return max(1, self.warmup_epochs)

    def columns(self) -> tuple[Column, ...]:
        return (Column("importance", torch.float32, math.nan),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        kappa = self.kappa if epoch.target is None else 1 - epoch.target
        rows, over = ledger.num_rows, ledger.population
        chance = ledger["importance"].double()
        is_unseen = chance.isnan()
        mean = ledger.mean(chance, where=~is_unseen)
        if math.isnan(mean):
            return Selection(kept=ledger.everyone)
        # Importances that are all 0 tell no more than none.
        chance.masked_fill_(is_unseen, mean).add_(self.epsilon * mean or 1.0)
        chance = draws.inclusion_probabilities(chance, kappa * ledger.num_samples, over)
        offset = epoch.draws.number("systematic offset")
        order = epoch.draws.local_order(rows, "systematic order")
        kept = draws.systematic(chance, order, offset, over)
        weights = inverse_probability(chance, kappa)
        return Selection(kept=kept, weights=weights, certain_weight=kappa)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        norm, rows = trace.scores["logit_grad_norm"].numpy(), plan.rows.numpy()
        seen = trace.seen.numpy()
        if not seen.all():
            norm, rows = norm[seen], rows[seen]
        norm = np.where(np.isfinite(norm), norm, np.float32(math.nan))
        column = ledger["importance"].numpy()
        old = column.take(rows)
        average = np.float32(self.alpha) * old + np.float32(1 - self.alpha) * norm
        # A norm that is not finite makes the sample unseen; the next one starts it anew.
        column[rows] = np.where(np.isnan(old), norm, average)
