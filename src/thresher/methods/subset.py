"""A fixed subset, as a static method chose it, in the user's own loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, cast, final

import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._chosen import as_subset, by_sample, shown
from thresher.methods._method import Method, Reference
from thresher.plan import Epoch, Selection


@final
@dataclass(frozen=True, eq=False, repr=False)
class Subset(Method):
    """Train every epoch on the same samples, with the same weights.

    The subset is the one that `Pruner.replace_subset` gave last, before that the one given here.
    Epochs of the warm-up, and those after δE, train on everything with weight 1.

    Args:
        ids: the samples, int64, shape (k,), unique; None stands for every sample.
        weights: of each, positive, shape (k,); None for 1. The loss of a batch of m samples is
            (1/m) Σ w_i ℓ_i; `Pruner(step_exponent=0)` scales the weights to mean 1.

    Guarantees: exactly these samples, in an order that is drawn anew each epoch. `prune_ratio`
        changes nothing: it is what a report compares the achieved rate with.
    Cost: 5 bytes a sample.

    Example:
        >>> from thresher import Pruner, Subset
        >>> sorted(Pruner(Subset([3, 1], [0.5, 1.5]), epochs=2, num_samples=5).plan(0).ids.tolist())
        [1, 3]

    References:
        Guo et al., DeepCore: A Comprehensive Library for Coreset Selection in Deep Learning, whose
        common protocol this is.
    """

    ids: Tensor | Sequence[int] | None = None
    weights: Tensor | Sequence[float] | None = None

    needs: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[dict[str, float]] = {"replaced": 0.0}
    follows_prune_ratio: ClassVar[bool] = False
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="DeepCore: A Comprehensive Library for Coreset Selection in Deep Learning",
        authors="Guo, Zhao, Bai",
        year=2022,
        arxiv="2204.08499",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ids is None:
            if self.weights is not None:
                raise SettingError("Subset(weights=...) without ids", "the samples they belong to")
            return
        ids, weights = as_subset(self.ids, self.weights)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "weights", weights)

    def columns(self) -> tuple[Column, ...]:
        return (Column("member", torch.bool, False), Column("weight", torch.float32, 1.0))

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        if ledger.scalars["replaced"]:
            return Selection(kept=ledger["member"].clone(), weights=ledger["weight"].clone())
        if self.ids is None:
            return Selection(kept=ledger.everyone)
        ids, weights = cast("Tensor", self.ids), cast("Tensor | None", self.weights)
        kept, weights = by_sample(ids, weights, ledger.num_samples)
        shard = ledger.population.shard
        if shard.count > 1:
            kept, weights = (each[shard.index :: shard.count].clone() for each in (kept, weights))
        return Selection(kept=kept, weights=weights)

    def _key(self) -> tuple[object, ...]:
        """Everything that distinguishes it, in values that compare and hash by content."""
        values = [getattr(self, field.name) for field in fields(self)]
        return tuple(tuple(v.tolist()) if isinstance(v, Tensor) else v for v in values)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Subset) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        settings = (f"{field.name}={shown(getattr(self, field.name))}" for field in fields(self))
        return f"Subset({', '.join(settings)})"
