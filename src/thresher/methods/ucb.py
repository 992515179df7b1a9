"""UCB: the samples whose loss is large on average, or may be, as it varies."""

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
class UCB(Method):
    """Train the q samples with the largest u_i + c v_i, an upper confidence bound of their loss.

    q = round(κ n), weight 1. At each visit v ← (1 - a) v + a (ℓ - u)², with the old u, and then
    u ← (1 - a) u + a ℓ; the first visit sets u = ℓ and v = 0. Unseen and non-finite losses rank
    first, ties are broken at random.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        c: c, how much the variance counts; at 0 the largest averages are trained. (Default ours.)
        a: a, the weight of the newest loss in both averages. (Default ours.)
        period: T_p, epochs that a choice is kept for, from the end of the warm-up on. (Ours: 1.)

    Guarantees: an exact size. Biased towards large and varying losses; a sample that is never
        among the q keeps its last bound, and so is not looked at again until others fall below it.
    Cost: 8 bytes a sample, and 1 more with a `period`.

    Example:
        >>> from thresher import Pruner, UCB
        >>> len(Pruner(UCB(kappa=0.3), epochs=9, num_samples=100).plan(0))
        30

    References:
        Raju et al., Accelerating Deep Learning with Dynamic Data Pruning, 2021, as described by a
        public implementation.
    """

    kappa: float = 0.5
    c: float = 1.0
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
        require_within(self, "c", "[0, inf)", "a factor")
        require_within(self, "a", "(0, 1]", "the weight of the newest loss")
        if self.period < 1:
            raise SettingError(f"UCB(period={self.period})", "1 epoch or more")

    def columns(self) -> tuple[Column, ...]:
        both = tuple(Column(name, torch.float32, math.nan) for name in ("mean", "variance"))
        return (*both, Column("chosen", torch.bool, True)) if self.period > 1 else both

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, kappa = ledger.num_samples, self.kappa if epoch.target is None else 1 - epoch.target
        if (epoch.number - self.warmup_epochs) % self.period:
            return Selection(kept=ledger["chosen"].clone())
        bound = torch.add(ledger["mean"], ledger["variance"], alpha=self.c)
        bound.nan_to_num_(nan=torch.finfo(torch.float32).max)  # unseen: first
        ties = partial(epoch.draws.uniform, ledger.num_rows, "ties")
        quota = max(1, round(kappa * n))
        return Selection(kept=draws.top_q(bound, quota, ties, over=ledger.population))

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        mean, variance = ledger["mean"].numpy(), ledger["variance"].numpy()
        for rows, loss in visited(plan, trace, "loss"):
            old = mean[rows]
            is_first = np.isnan(old)
            with np.errstate(over="ignore"):
                spread = (1 - self.a) * variance[rows] + self.a * np.square(loss - old)
            # What leaves float32 is its largest; of a first loss it is 0, or NaN if the loss is.
            spread = np.minimum(spread, np.finfo(np.float32).max)
            variance[rows] = np.where(is_first, loss - loss, spread)
            # A broken loss makes both NaN, unseen; the next loss begins them anew.
            mean[rows] = np.where(is_first, loss, (1 - self.a) * old + self.a * loss)
        if self.period > 1:
            ledger["chosen"].zero_().numpy()[plan.rows.numpy()] = True
