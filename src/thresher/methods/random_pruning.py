"""Dynamic random pruning (Random*, RS2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from thresher import draws
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_one_of
from thresher.plan import Epoch, Plan, Selection, Trace


@final
@dataclass(frozen=True, kw_only=True)
class RandomPruning(Method):
    """Train each epoch on a uniformly random part of the data.

    Each epoch keeps q = round((1 - R) n) samples with weight 1, where R is the epoch's share to
    leave out (`prune_ratio`).

    Args:
        mode: "fresh" draws anew, without replacement. "cycle" draws among the least visited: nobody
            is seen twice before everybody was seen once, so 1 / (1 - R) epochs are one plain epoch
            under another name.

    Guarantees: unbiased, over the draws of an epoch ("fresh") or of the run so far ("cycle"); the
        size is exact.
    Cost: none for "fresh"; 4 bytes a sample for "cycle".

    Example:
        >>> from thresher import Pruner, RandomPruning
        >>> len(Pruner(RandomPruning(prune_ratio=0.7), epochs=4, num_samples=100).plan(0))
        30

    References:
        Okanovic et al., Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning;
        "Random*" in the RePB paper, Table 1.
    """

    prune_ratio: float | None = 0.5
    mode: Literal["fresh", "cycle"] = "fresh"

    needs: ClassVar[tuple[str, ...]] = ()
    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    has_exact_rate: ClassVar[bool] = True
    reference: ClassVar[Reference] = Reference(
        title="Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning",
        authors="Okanovic et al.",
        year=2023,
        arxiv="2305.18424",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "mode", "fresh", "cycle")
        if self.prune_ratio is None:
            raise SettingError("RandomPruning(prune_ratio=None)", "the share to leave out")

    def columns(self) -> tuple[Column, ...]:
        return (Column("visits", torch.int32, 0),) if self.mode == "cycle" else ()

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        size, over = ledger.num_samples, ledger.population
        target = self.prune_ratio if epoch.target is None else epoch.target
        assert target is not None
        quota = max(1, round((1 - target) * size))
        keys = epoch.draws.uniform(ledger.num_rows, "selection", dtype=torch.float64)
        if self.mode == "fresh":
            kept = draws.exact_count(ledger.everyone, quota, keys, over=over)
        else:
            kept = draws.top_q(-ledger["visits"].float(), quota, keys, over=over)
        return Selection(kept=kept, certain_weight=quota / size)

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        if self.mode == "cycle":
            seen = trace.seen.numpy()
            # A loop may report nothing, as no score is needed: then its plan counts as trained.
            trained = seen if seen.any() else slice(None)
            ledger["visits"].numpy()[plan.rows.numpy()[trained]] += 1
