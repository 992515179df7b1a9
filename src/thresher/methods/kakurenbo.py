"""KAKURENBO: hide what the model gets right and is sure of, and look at it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher import draws
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger, pieces
from thresher.methods._method import Method, Reference, require_one_of, require_within
from thresher.plan import Epoch, Plan, Selection, Trace


@final
@dataclass(frozen=True, kw_only=True)
class KAKURENBO(Method):
    """Of the ⌊F_e n⌋ smallest losses, hide those that are right with a confidence of τ or more.

    The rest of them "move back" and train with all others, with weight 1; the learning rate is
    multiplied by 1 / (1 - F_e), where F_e = F m(e). Scores are those of `thresher.scores.named`.
    With a `score_fn`, hidden samples are scored when an epoch closes, as published; without, they
    keep their scores, and stay hidden until enough losses fall below theirs. Equal losses are
    drawn. A sample without finite scores is not hidden, so the first epoch hides nobody.

    With `prune_ratio`, the round(R n) smallest losses of those right and sure are hidden, R being
    the epoch's share to leave out, and F_e is the hidden share: never more than is right and sure.

    Args:
        max_fraction: F, the largest share to hide.
        tau: τ, the confidence from which on a sample may be hidden.
        milestones: (epoch, m(e) from it on); 1 before the first. CIFAR's; ImageNet: 30, 60, 80.
        lr_fraction: F_e of the learning rate: "max" as published, or the "actual" hidden share.

    Guarantees: none of its gradient: a hidden sample has no chance in its epoch.
    Cost: 5 bytes a sample; with a `score_fn`, a forward pass of each hidden sample an epoch.

    Example:
        >>> from thresher import KAKURENBO, Pruner
        >>> pruner = Pruner(KAKURENBO(max_fraction=0.5), epochs=9, num_samples=3)
        >>> loss, sure = torch.tensor([0.1, 0.2, 2.0]), torch.tensor([0.9, 0.9, 0.5])
        >>> scores = {"loss": loss, "correct": torch.ones(3), "confidence": sure}
        >>> pruner.observe(pruner.plan(0).ids.sort().values, scores)
        >>> sorted(pruner.plan(1).ids.tolist())
        [1, 2]

    References:
        Nguyen et al., KAKURENBO, NeurIPS 2023. Its code, where τ = 0.7 was set, takes the softmax
        of its confidence over the batch.
    """

    warmup_epochs: int = 1
    max_fraction: float = 0.3
    tau: float = 0.7
    milestones: tuple[tuple[int, float], ...] = ((60, 0.8), (120, 0.6), (160, 0.4))
    lr_fraction: Literal["max", "actual"] = "max"

    needs: ClassVar[tuple[str, ...]] = ("loss", "correct", "confidence")
    reference: ClassVar[Reference] = Reference(
        title="KAKURENBO: Adaptively Hiding Samples in Deep Neural Network Training",
        authors="Nguyen et al.",
        year=2023,
        venue="NeurIPS",
        arxiv="2310.10102",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "max_fraction", "[0, 1)", "a share to hide")
        require_within(self, "tau", "[0, 1]", "a confidence")
        require_one_of(self, "lr_fraction", "max", "actual")
        in_order = sorted(self.milestones) == list(self.milestones)
        if not in_order or not all(0 <= m <= 1 for _, m in self.milestones):
            came = f"KAKURENBO(milestones={self.milestones})"
            raise SettingError(came, "ascending epochs, each with an m(e) from 0 to 1")

    @property
    def first_prunable_epoch(self) -> int:
        return max(1, self.warmup_epochs)

    def columns(self) -> tuple[Column, ...]:
        return (Column("loss", torch.float32, math.nan), Column("sure", torch.bool, False))

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        n, sure, target = ledger.num_samples, ledger["sure"], epoch.target
        m = next((m for begin, m in reversed(self.milestones) if epoch.number >= begin), 1.0)
        fraction = self.max_fraction * m
        among = ~ledger["loss"].isnan() if target is None else sure
        lowest = math.floor(fraction * n + 1e-9) if target is None else round(target * n)
        lowest = min(lowest, n - 1, ledger.count(among))
        ties = partial(epoch.draws.uniform, ledger.num_rows, "ties")
        hidden = draws.exact_count(among, lowest, ledger["loss"], ties, ledger.population) & sure
        if target is not None or self.lr_fraction == "actual":
            fraction = ledger.count(hidden) / n
        return Selection(kept=~hidden, learning_rate_factor=1 / (1 - fraction))

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        rows = plan.rows
        for part in pieces(len(plan)):
            seen = slice(None) if bool(trace.seen[part].all()) else trace.seen[part]
            scores = {name: trace.scores[name][part][seen] for name in self.needs}
            self.observe_refreshed(ledger, rows[part][seen], scores)

    def refreshed(self, ledger: Ledger, plan: Plan) -> Tensor | None:
        hidden = ledger.everyone.numpy()
        hidden[plan.rows.numpy()] = False
        return torch.from_numpy(np.flatnonzero(hidden)) if hidden.any() else None

    def observe_refreshed(self, ledger: Ledger, rows: Tensor, scores: Mapping[str, Tensor]) -> None:
        loss, correct, confidence = (scores[name].numpy() for name in self.needs)
        usable = np.isfinite(loss) & np.isfinite(correct) & np.isfinite(confidence)
        ledger["loss"].numpy()[rows.numpy()] = np.where(usable, loss, np.float32("nan"))
        ledger["sure"].numpy()[rows.numpy()] = usable & (correct == 1) & (confidence >= self.tau)
