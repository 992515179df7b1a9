"""SCORE: what Omission and the rules beside it remember of logit-gradient norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from thresher._arrays import Array
from thresher.ledger import Column, Ledger
from thresher.methods._method import Method, Reference, require_within
from thresher.plan import Epoch, Plan, Trace
from thresher.runs import Runs

PAPER = Reference(
    title="Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling",
    authors="Anonymous authors",
    year=2025,
    venue="ICLR submission",
)
"""Where Omission and what it was compared with are from."""


@dataclass(frozen=True, kw_only=True)
class GradientMemory(Method):
    """A method that averages γ_i² / den over a sample's visits (decay β₁): its SCORE_i.

    γ_i is the logit-gradient norm, den the average over steps (decay β₂, corrected as Adam's) of
    the population mean of γ², estimated as mean_j w_j γ_j². The first visit sets SCORE_i; it is
    NaN, unseen, before that and after a norm that is not finite.

    Args:
        kappa: κ, the share to train on, when `prune_ratio` is not given.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
    """

    kappa: float = 0.5
    beta_1: float = 0.9
    beta_2: float = 0.99

    needs: ClassVar[tuple[str, ...]] = ("logit_grad_norm",)
    scalars: ClassVar[dict[str, float]] = {"den": 0.0, "den_decay": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "kappa", "(0, 1]", "a share to keep")
        for name in ("beta_1", "beta_2"):
            require_within(self, name, "[0, 1)", "a decay")

    def columns(self) -> tuple[Column, ...]:
        return (Column("score", torch.float32, np.nan),)

    def share(self, epoch: Epoch) -> float:
        """Return κ: the share of the samples that an epoch is to train on."""
        return self.kappa if epoch.target is None else 1 - epoch.target

    def observe(self, ledger: Ledger, plan: Plan, trace: Trace) -> None:
        norm, runs, seen = trace.scores["logit_grad_norm"].numpy(), trace.runs, trace.seen.numpy()
        rows, weights, column = plan.rows.numpy(), plan.weights.numpy(), ledger["score"].numpy()
        used = np.isfinite(norm) & seen
        if not used.all():
            column[rows[seen & ~used]] = np.nan
            runs = Runs(trace.step.numpy().compress(used))
            norm, rows, weights = (x.compress(used) for x in (norm, rows, weights))

        def weighted(places: slice) -> Array:
            square = np.square(norm[places], dtype=np.float64)
            square *= weights[places]
            return square if plan.scale == 1 else np.divide(square, plan.scale, out=square)

        scale = self._scales(ledger, runs, runs.sums(weighted)).take(runs.step)
        scale[scale <= 0] = 1  # while all norms are 0, so are scores
        for places, of_runs, sizes in runs.pieces():
            score = np.square(norm[places], dtype=np.float64)
            score /= np.repeat(scale[of_runs], sizes)
            old = column.take(rows[places])
            average = np.multiply(old, self.beta_1, dtype=np.float64)
            average += (1 - self.beta_1) * score
            np.copyto(average, score, where=np.isnan(old))
            column[rows[places]] = average.astype(np.float32)  # twice as fast as of float64

    def _scales(self, ledger: Ledger, runs: Runs, weighted: Array) -> Array:
        """Return den after each optimizer step, bias-corrected: float64, shape (steps,)."""
        over = ledger.population
        total = over.added_floats(np.bincount(runs.step, weighted))
        count = over.added(np.bincount(runs.step, runs.sizes, len(total)).astype(np.int64))
        average, decay = ledger.scalars["den"], ledger.scalars["den_decay"]
        scale = np.zeros(len(total))
        for t in np.flatnonzero(count).tolist():
            average = self.beta_2 * average + (1 - self.beta_2) * float(total[t] / count[t])
            decay *= self.beta_2
            scale[t] = average / (1 - decay)
        ledger.scalars.update(den=average, den_decay=decay)
        return scale


def neutral(score: Array) -> Array:
    """Return a copy of scores, 1 in place of NaN: unseen is taken for average."""
    result = score.copy()
    np.copyto(result, 1.0, where=np.isnan(result))
    return result


def smoothed(score: Array, mean: Array | float, alpha: float) -> Array:
    """Return sqrt((1 - α) SCORE + α mean SCORE); overwrites `score`."""
    score *= 1 - alpha
    score += alpha * mean
    return np.sqrt(score, out=score)
