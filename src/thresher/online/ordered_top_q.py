"""OrderedTopQ: of a candidate batch, the q largest losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from thresher.draws import top_q
from thresher.methods._method import Reference
from thresher.online._method import Candidates, Choice, OnlineMethod


@final
@dataclass(frozen=True, kw_only=True)
class OrderedTopQ(OnlineMethod):
    """Train on the q largest losses of each s candidates (ordered SGD).

    q = b, the loader's batch size, and s = b/κ: `prune_ratio` 1 - κ, or `candidates` = s/q. The
    candidates are a uniformly random part of the data, without replacement, and the losses those of
    the present parameters. So OrderDP's theorem holds as it stands: the batch mean is unbiased for
    the gradient of L_q = (1/q) Σ_j γ_j ℓ_(j), γ_j the chance that the j-th largest loss is chosen.
    Weight 1. Losses that are not finite rank first, ties are broken at random.

    The paper keeps the forward pass and saves the backward one; here a scoring pass over s is
    followed by training on q. Its schedule of q by training accuracy is left to the user.

    Guarantees: unbiased for ∇L_q. Not for the mean loss.
    Cost: s/q extra forward passes for each trained sample; nothing remembered.

    Example:
        >>> from thresher.online import OrderedTopQ
        >>> OrderedTopQ(prune_ratio=0.75).num_candidates(batch_size=32, kept=0.25)
        128

    References:
        Kawaguchi and Lu, Ordered SGD: A New Stochastic Optimization Framework for Empirical Risk
        Minimization, AISTATS 2020.
    """

    unbiased_for: ClassVar[str] = "the gradient of L_q, the ordered loss"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Ordered SGD: A New Stochastic Optimization Framework for Empirical Risk "
        "Minimization",
        authors="Kawaguchi and Lu",
        year=2020,
        venue="AISTATS",
        arxiv="1907.04371",
    )

    def choose(self, candidates: Candidates) -> Choice:
        keys = candidates.draws.uniform(candidates.size, "ties", dtype=torch.float64)
        q = min(candidates.batch_size, candidates.size)
        positions = top_q(candidates.scores["loss"], q, keys).nonzero().squeeze(1)
        weights = torch.ones(q, dtype=torch.float32, device="cpu")
        return Choice(positions, weights, candidates.memory)
