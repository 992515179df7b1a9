"""ε-greedy: mostly the samples with the largest average loss, and some of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import numpy as np
import torch

from thresher import draws
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger, visited
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Plan, Selection, Trace


@final
@dataclass(frozen=True, kw_only=True)
class EpsilonGreedy(Method):
    """Train the (1 - ε) q samples with the largest average loss, and ε q of the others at random.

    q = round(κ n), weight 1. The average u_i moves at each visit, u ← (1 - a) u + a ℓ, and begins
    with the first loss. Unseen and non-finite losses rank first, ties are broken at random.

    The Omission paper words it otherwise: the share F with the smallest averages is kept with
    probability ε', the rest surely. That is F = 1 - (1 - ε) κ and ε' = ε κ / F; the other way
    round κ = 1 - F + ε' F and ε = ε' F / κ. Here the number is exact.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        epsilon: ε, the share of them that is drawn from the others. (Default ours.)
        a: a, the weight of the newest loss in an average. (Default ours.)
        period: T_p, epochs that a choice is kept for, from the end of the warm-up on. (Ours: 1.)

    Guarantees: an exact size. Biased towards large losses; at ε = 1 uniform.
    Cost: 4 bytes a sample, and 1 more with a `period`.

    Example:
        >>> from thresher import EpsilonGreedy, Pruner
        >>> len(Pruner(EpsilonGreedy(kappa=0.3), epochs=9, num_samples=100).plan(0))
        30

    References:
        Raju et al., Accelerating Deep Learning with Dynamic Data Pruning, 2021, as described by the
        Omission paper, §2, and by a public implementation.
    """

    kappa: float = 0.5
    epsilon: float = 0.1
    a: float = 0.2
    period: int = 1

    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Accelerating Deep Learning with Dynamic Data Pruning",
        authors="Raju, Daruwalla and Lipasti",
        year=2021,
        arxiv="2111.12621",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "kappa", "(0, 1]", "a share to keep")
        require_within(self, "epsilon", "[0, 1]", "a share of what is kept")
        require_within(self, "a", "(0, 1]", "the weight of the newest loss")
        if self.period < 1:
            raise SettingError(f"EpsilonGreedy(period={self.period})", "1 epoch or more")

    def columns(self) -> tuple[Column, ...]:
        mean, chosen = Column("mean", torch.float32, math.nan), Column("chosen", torch.bool, True)
        return (mean, chosen) if self.period > 1 else (mean,)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, kappa = ledger.num_samples, self.kappa if epoch.target is None else 1 - epoch.target
        if (epoch.number - self.warmup_epochs) % self.period:
            return Selection(kept=ledger["chosen"].clone())
        quota, over = max(1, round(kappa * n)), ledger.population
        num_random = round(self.epsilon * quota)
        ties = partial(epoch.draws.uniform, ledger.num_rows, "ties")
        kept = draws.top_q(ledger["mean"], quota - num_random, ties, over=over)
        if num_random:
            keys = epoch.draws.uniform(ledger.num_rows, "selection", torch.float64)
            kept |= draws.exact_count(~kept, num_random, keys, over=over)
        return Selection(kept=kept)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        mean = ledger["mean"].numpy()
        for rows, loss in visited(plan, trace, "loss"):
            old = mean[rows]
            # A broken loss makes the average NaN, unseen; the next loss begins it anew.
            mean[rows] = np.where(np.isnan(old), loss, (1 - self.a) * old + self.a * loss)
        if self.period > 1:
            ledger["chosen"].zero_().numpy()[plan.rows.numpy()] = True
