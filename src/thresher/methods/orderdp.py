"""OrderDP: of a random part of the data, the samples with the largest losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from thresher import draws
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Plan, Selection, Trace

_OLDEST = torch.iinfo(torch.int16).max


@final
@dataclass(frozen=True, kw_only=True)
class OrderDP(Method):
    """Each epoch, draw s samples uniformly and train on the q of them with the largest last loss.

    s = ⌊ρ_s n⌋ without replacement, q = ⌊ρ_q s⌋, weight 1: exactly 1 - q/n of the visits are saved.
    With `prune_ratio` P: ρ_s = ρ_q = sqrt(1 - P) and q = round((1 - P) n). Unseen and non-finite
    losses rank first, ties are broken at random. Losses are those of the training forward (θ_t), as
    in the released code; the paper's per-iteration form with fresh losses is an online method.

    Stored losses grow stale: a sample whose loss was low once is hardly ever seen again. With
    `max_staleness` m (ours), a loss that m epochs did not renew is out of date: its sample is
    drawn for certain and ranks before all others, the stalest first. q stays what it is.

    Args:
        rho_s: ρ_s, the share drawn at random (`random_len_ratio` in the released code).
        rho_q: ρ_q, the share of those that is trained (`top_q_ratio`).
        max_staleness: m in epochs; None, the published rule, forces no revisit.

    Guarantees: were the ranking fresh, unbiased for L_q = (1/q) Σ_j γ_j ℓ_(j), close to the mean of
        the top ρ_q of the losses. Not for the mean loss. With `max_staleness` nobody waits longer,
        unless more than q are due at once: those of one epoch of q samples never are.
    Cost: 4 bytes a sample, 6 bytes a sample with `max_staleness`. Without it stale ranks starve
        samples in long runs. Label noise ranks high.

    Example:
        >>> from thresher import OrderDP, Pruner
        >>> len(Pruner(OrderDP(rho_s=0.5, rho_q=0.6), epochs=9, num_samples=100).plan(0))
        30

    References:
        OrderDP: A Theoretically Guaranteed Lossless Dynamic Data Pruning Framework, ICLR 2026
        (per-epoch behaviour of its code); Kawaguchi and Lu, Ordered SGD, 2020 (γ_j).
    """

    rho_s: float = 0.5
    rho_q: float = 0.6
    max_staleness: int | None = None

    unbiased_for: ClassVar[str] = "L_q, if the ranking were fresh"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="OrderDP: A Theoretically Guaranteed Lossless Dynamic Data Pruning Framework",
        authors="Jin et al.",
        year=2026,
        venue="ICLR",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rho_s", "rho_q"):
            require_within(self, name, "(0, 1]", "a share to keep")
        if self.max_staleness is not None:
            require_within(self, "max_staleness", "[1, inf)", "epochs, or None")

    def columns(self) -> tuple[Column, ...]:
        age = Column("age", torch.int16, 0)  # epochs since the loss was renewed
        loss = Column("loss", torch.float32, math.nan)
        return (loss,) if self.max_staleness is None else (loss, age)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        drawn, trained = self.sizes(ledger.num_samples, epoch.target)
        rows, over = ledger.num_rows, ledger.population
        keys = epoch.draws.uniform(rows, "candidates", dtype=torch.float64)
        candidates = draws.exact_count(ledger.everyone, drawn, keys, over=over)
        del keys
        loss, ties = ledger["loss"], epoch.draws.uniform(rows, "ties", torch.float64)
        if self.max_staleness is None:
            return Selection(kept=draws.top_q(loss, trained, ties, candidates, over))
        due = ledger["age"] >= self.max_staleness
        rest = trained - ledger.count(due)
        if rest < 0:
            return Selection(kept=draws.top_q(ledger["age"], trained, ties, due, over))
        candidates &= ~due
        return Selection(kept=draws.top_q(loss, rest, ties, candidates, over).logical_or_(due))

    def sizes(self, num_samples: int, target: float | None = None) -> tuple[int, int]:
        """Return s and q for n samples: by `rho_s` and `rho_q`, or by a share to leave out."""
        if target is None:
            # Guards products such as 0.7 * 10 against falling just below their integer.
            drawn = max(1, math.floor(self.rho_s * num_samples + 1e-9))
            return drawn, max(1, math.floor(self.rho_q * drawn + 1e-9))
        trained = max(1, round((1 - target) * num_samples))
        return max(trained, math.floor(math.sqrt(1 - target) * num_samples)), trained

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger.remember(plan, trace, "loss")
        if self.max_staleness is not None:
            age, renewed = ledger["age"], trace.scores["loss"].isfinite() & trace.seen
            age.clamp_(max=_OLDEST - 1).add_(1)
            age.numpy()[plan.rows.numpy()[renewed.numpy()]] = 0
