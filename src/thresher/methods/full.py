"""Training on everything, as a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from thresher.ledger import Ledger
from thresher.methods._method import Method, Reference
from thresher.plan import Epoch, Selection


@final
@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """Train on every sample, with weight 1, in every epoch.

    The control of every comparison: it runs through the same loader and the same `reduce` as the
    pruning methods, and trains bit for bit like a plain DataLoader given its plan's order.

    Guarantees: unbiased, trivially.
    Cost: no memory per sample.

    Example:
        >>> from thresher import Full, Pruner
        >>> len(Pruner(Full(), epochs=3, num_samples=100).plan(0))
        100

    References:
        Robbins and Monro, A Stochastic Approximation Method, Ann. Math. Statist. 22 (1951).
    """

    needs: ClassVar[tuple[str, ...]] = ()
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    follows_prune_ratio: ClassVar[bool] = False
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="A Stochastic Approximation Method",
        authors="Robbins and Monro",
        year=1951,
        venue="Annals of Mathematical Statistics",
    )

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        return Selection(kept=ledger.everyone)
