"""Omission: keep samples with the variance-optimal probability of their remembered gradient norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher import draws
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference
from thresher.plan import Epoch, Plan, Selection, Trace
from thresher.weights import inverse_probability


@final
@dataclass(frozen=True, kw_only=True)
class Omission(Method):
    """Draw once per epoch with p_i = min(a_i / c, 1), Σ p_i = κ n, and weight the loss by κ / p_i.

    a_i = sqrt((1 - α) SCORE_i + α mean SCORE) minimises the variance of the weighted gradient
    (Theorem 1) and bounds p_i >= κ sqrt(α) (Theorem 2). SCORE_i is an average, with decay β₁, of γ_i² / den
    over the sample's visits; γ_i is its logit-gradient norm, and den an average, with decay β₂ and
    Adam's bias correction, of the population mean of γ² at each step, estimated as mean_j w_j γ_j².
    The first visit sets SCORE_i; an unseen or non-finite one is neutral, 1.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        alpha: α, how far the scores are smoothed towards their mean.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
        sampling: "systematic" has exact inclusion probabilities and a fixed size; "bernoulli" is
            the paper's independent draw, whose size varies. (The paper fills up to a fixed size by
            drawing on, which changes p_i.)

    Guarantees: unbiased for the mean gradient whatever the scores; weights at most 1 / sqrt(α).
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
    claims_unbiased: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling",
        authors="Anonymous authors",
        year=2025,
        venue="ICLR submission",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.kappa <= 1:
            raise SettingError(f"Omission(kappa={self.kappa})", "a share to keep, in (0, 1]")
        for name in ("alpha", "beta_1", "beta_2"):
            value = getattr(self, name)
            if not 0 <= value <= (1 if name == "alpha" else math.nextafter(1, 0)):
                raise SettingError(f"Omission({name}={value})", "a share in [0, 1]")
        if self.sampling not in ("systematic", "bernoulli"):
            raise SettingError(
                f"Omission(sampling={self.sampling!r})", "'systematic' or 'bernoulli'"
            )

    def columns(self) -> tuple[Column, ...]:
        return (Column("score", torch.float32, math.nan),)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        size = ledger.num_samples
        kappa = self.kappa if epoch.target is None else 1 - epoch.target
        probability = draws.inclusion_probabilities(self._importance(ledger), kappa * size)
        if self.sampling == "bernoulli":
            kept = draws.bernoulli(
                probability, epoch.draws.uniform(size, "selection", dtype=torch.float64)
            )
        else:
            order = epoch.draws.permutation(size, "systematic order")
            offset = epoch.draws.uniform(1, "systematic offset", dtype=torch.float64).item()
            kept = draws.systematic(probability, order, offset)
        weights = inverse_probability(probability, kappa)
        return Selection(kept=kept, weights=weights, certain_weight=kappa)

    def _importance(self, ledger: Ledger) -> Tensor:
        """a_i, float64, shape (n,)."""
        score = ledger["score"].nan_to_num(nan=1.0).double()
        return score.mul_(1 - self.alpha).add_(self.alpha * _mean(ledger)).sqrt_()

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        norm = trace.scores["logit_grad_norm"].numpy()
        used = np.isfinite(norm) & trace.seen.numpy()
        step = trace.step.numpy()[used]
        square = np.square(norm[used], dtype=np.float64)
        weights = plan.weights.numpy()[used] / np.float64(plan.scale)
        scale = self._scale_of_each_step(ledger, step, square * weights)
        # Where every norm so far was 0, γ² / den is 0 / 0: those samples score 0, like their norm.
        relative = square / np.where(scale > 0, scale, 1).take(step)
        column, ids = ledger["score"].numpy(), plan.ids.numpy()[used]
        old = column[ids]
        new = self.beta_1 * old + (1 - self.beta_1) * relative
        column[ids] = np.where(np.isnan(old), relative, new)

    def _scale_of_each_step(
        self, ledger: Ledger, step: np.ndarray, weighted_square: np.ndarray
    ) -> np.ndarray:
        """den after each optimizer step of the epoch, bias-corrected: float64, shape (steps,)."""
        total = np.bincount(step, weights=weighted_square)
        count = np.bincount(step, minlength=len(total))
        average = ledger.scalars.get("den", 0.0)
        decay = ledger.scalars.get("den_decay", 1.0)
        scale = np.zeros(len(total))
        for t in np.flatnonzero(count).tolist():
            average = self.beta_2 * average + (1 - self.beta_2) * float(total[t] / count[t])
            decay *= self.beta_2
            scale[t] = average / (1 - decay)
        ledger.scalars.update(den=average, den_decay=decay)
        return scale


def _mean(ledger: Ledger) -> float:
    """Return the mean SCORE over all samples, an unseen one counting as the neutral 1."""
    unseen = ledger["score"].isnan()
    seen_sum = ledger.sum(ledger["score"], where=~unseen)
    return (seen_sum + ledger.count(unseen)) / ledger.num_samples
