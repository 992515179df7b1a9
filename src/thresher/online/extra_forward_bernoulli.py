"""ExtraForwardBernoulli: the variance-optimal chance of the present gradient norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher import draws
from thresher.methods._method import Reference, require_one_of, require_within
from thresher.online._method import Candidates, Choice, OnlineMethod, filled
from thresher.theory.smoothing import smoothed_importance


@final
@dataclass(frozen=True, kw_only=True)
class ExtraForwardBernoulli(OnlineMethod):
    """Keep each of B candidates with p_i = min(a_i / c, 1), Σ p_i = b, and weight it by 1 / p_i.

    a_i = sqrt((1 - α) γ_i² + α mean γ²), γ_i the logit-gradient norm at the present parameters: at
    α = 0 the weighted gradient has the least variance of all (Theorem 1 of the Omission paper). The
    loss is (1/B) Σ ℓ_i / p_i over what is kept. A norm that is not finite counts as average.

    A draw that keeps nobody keeps the candidate with the largest chance, whose weight is by the
    chance of either (the paper does not say), so that no bias comes of it.

    Args:
        alpha: α, smooths squared norms towards their mean.
        sampling: "bernoulli" draws independently, so batches vary in size around b, as in the
            paper; "systematic" keeps exactly b.

    Guarantees: unbiased for the mean gradient of the candidates, and so of the data; with α > 0,
        1 / p_i <= B / (b sqrt(α)).
    Cost: B/b extra forward passes for each trained sample; nothing remembered.

    Example:
        >>> from thresher.online import ExtraForwardBernoulli
        >>> ExtraForwardBernoulli().num_candidates(batch_size=32, kept=0.5)
        64

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §5
        ("Extra Forward Bernoulli").
    """

    alpha: float = 0.1
    sampling: Literal["bernoulli", "systematic"] = "bernoulli"

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
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
        require_within(self, "alpha", "[0, 1]", "a share")
        require_one_of(self, "sampling", "bernoulli", "systematic")

    def choose(self, candidates: Candidates) -> Choice:
        square = np.square(filled(candidates.scores["logit_grad_norm"]))
        importance = smoothed_importance(torch.from_numpy(square), self.alpha)
        chance = draws.inclusion_probabilities(importance, candidates.batch_size)
        kept = self._drawn(candidates, chance)
        if self.sampling == "bernoulli":
            largest = int(chance.numpy().argmax())
            nobody = float(np.prod(1 - chance.numpy()))
            kept[largest] |= not kept.numpy().any()
            chance[largest] = min(1.0, float(chance[largest]) + nobody)
        positions = kept.nonzero().squeeze(1)
        weights = len(positions) / (candidates.size * chance[positions])
        return Choice(positions, weights.float(), candidates.memory)

    def _drawn(self, candidates: Candidates, chance: Tensor) -> Tensor:
        size, random = candidates.size, candidates.draws
        if self.sampling == "bernoulli":
            return draws.bernoulli(chance, random.uniform(size, "selection", torch.float64))
        offset = random.uniform(1, "systematic offset", dtype=torch.float64).item()
        return draws.systematic(chance, random.permutation(size, "systematic order"), offset)
