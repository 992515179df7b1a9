"""RePB: compare losses only inside short windows, resample, and re-weight over epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from thresher import windows
from thresher.errors import SettingError
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Plan, Selection, Trace
from thresher.weights import cumulative


@final
@dataclass(frozen=True, kw_only=True)
class RePB(Method):
    """Prune samples whose loss is below the mean of their own window; bring absent ones back.

    At the end of an epoch a trained sample with s_i < mean of its window leaves with probability ρ,
    and one that was absent returns with probability 1 - ρ (eq. 1 and 2). A window is W optimizer
    steps, over all ranks and micro-batches. The loss of i is then weighted by E / N_i(E), completed
    epochs over those it was in (eq. 3). The first epoch trains on everything; without a finite
    score a sample stays. The paper never states its ρ; with `prune_ratio` an epoch solves it:
    min(1, P / (x f + 1 - x)), x the share in the set, f its share below the mean, P to leave out.

    Args:
        rho: ρ in [0, 1]; None without a `prune_ratio` means 0.5.
        window: W in optimizer steps; None compares over the whole epoch (no local windows).
        resample: bring absent samples back; off only for the ablation, as the pool then drains.
        rescale: weight by E / N_i(E); off only for the ablation.
        score: the name of the score that windows compare, such as "logit_grad_norm".
        rule: what prunes inside a window in place of eq. 1; see `thresher.windows`.

    Guarantees: not per step. In the long run every sample contributes equally, whatever its own
        stationary chance to be kept: the forced first epoch cancels the weight's Jensen bias.
    Cost: 6 bytes a sample, or 13 bytes a sample with a `rule`.

    Example:
        >>> from thresher import Pruner, RePB
        >>> pruner = Pruner(RePB(rho=1.0), epochs=5, num_samples=4)
        >>> pruner.observe(pruner.plan(0).ids, torch.tensor([1.0, 1.0, 1.0, 9.0]))
        >>> len(pruner.plan(1))
        1

    References:
        Inconsistency Biases in Dynamic Data Pruning, ICLR 2026, §3 and Tables 9-11.
    """

    rho: float | None = None
    window: int | None = 1
    resample: bool = True
    rescale: bool = True
    score: str = "loss"
    rule: windows.WindowRule | None = None

    unbiased_for: ClassVar[str] = "the mean gradient, in the long run"
    scalars: ClassVar[dict[str, float]] = {"rho": 0.0}
    reference: ClassVar[Reference] = Reference(
        title="Inconsistency Biases in Dynamic Data Pruning",
        authors="Zhou et al.",
        year=2026,
        venue="ICLR",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rho is not None and self.prune_ratio is not None:
            raise SettingError(
                f"RePB(rho={self.rho}, prune_ratio={self.prune_ratio})",
                "one of the two",
                "prune_ratio solves rho anew at each epoch; rho holds it fixed",
            )
        if self.rho is not None:
            require_within(self, "rho", "[0, 1]", "a probability")
        if self.window is not None and self.window < 1:
            raise SettingError(f"RePB(window={self.window})", "1 optimizer step or more, or None")

    @property
    def first_prunable_epoch(self) -> int:
        return max(1, self.warmup_epochs)

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.score,)

    def columns(self) -> tuple[Column, ...]:
        in_set, count = Column("in_set", torch.bool, True), Column("count", torch.int32, 0)
        return (in_set, count, *windows.columns(self.rule))

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        rho, judged = self._judged(ledger, epoch)
        in_set, uniform = ledger["in_set"], epoch.draws.uniform(ledger.num_rows, "selection")
        kept = judged.drawn(rho, uniform).logical_not_().logical_and_(in_set)
        if self.resample:
            kept |= ~in_set & (uniform < 1 - rho)
        weights = cumulative(epoch.number, ledger["count"]) if self.rescale else None
        return Selection(kept=kept, weights=weights, facts={"rho": rho})

    def _judged(self, ledger: Ledger, epoch: Epoch) -> tuple[float, windows.Judged]:
        """Return ρ, and the last epoch's scores as the rule sees them."""
        judged = windows.judged(ledger, self.rule)
        rho = 0.5 if self.rho is None else self.rho
        if epoch.target is not None:
            absent = ledger.count(~ledger["in_set"])
            out = 0 if self.resample else absent  # whatever ρ is
            prunable = judged.prunable() + absent - out
            wanted = max(0.0, epoch.target * ledger.num_samples - out)
            rho = min(1.0, wanted / prunable) if prunable else 1.0
        return rho, judged

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        ledger["in_set"].zero_().numpy()[plan.rows.numpy()] = True
        ledger["count"].add_(ledger["in_set"])
        ledger.scalars["rho"] = plan.facts.get("rho", 0.0)
        windows.remember(ledger, plan, trace, rule=self.rule, score=self.score, window=self.window)
