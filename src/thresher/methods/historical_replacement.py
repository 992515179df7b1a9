"""Historical replacement: draw with replacement by gradient norm inside each large batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from thresher import within
from thresher._arrays import Array
from thresher.ledger import Ledger
from thresher.methods._gradient_memory import PAPER, GradientMemory, neutral, smoothed
from thresher.methods._method import Reference, require_within
from thresher.plan import Epoch, Selection

# More draws than this a sample are for a ratio below 0.002, and cost more than they change.
_MOST_DRAWS = 20.0


@final
@dataclass(frozen=True, kw_only=True)
class HistoricalReplacement(GradientMemory):
    """Of each large batch of B samples draw b with replacement, by g_i = a_i / Σ a.

    a_i = sqrt((1 - α) SCORE_i + α mean SCORE) as in `Omission`, with the mean over the large batch,
    into which the epoch's order, on shards that of each, is cut. A sample drawn c times is trained
    once and weighted by K c / (b g_i), K being the expected share of samples that are drawn at all:
    the paper's w_i = 1 / (B g_i) for each draw, without training a sample twice. Unseen samples
    count as 1.

    With `prune_ratio` the number of draws b is solved so that K is the share to train on; it grows
    without bound as the ratio nears 0. The source has two sentences: Weighted Replacement with
    historical statistics, B = 2b; details are from `Omission`.

    Args:
        kappa: κ = b / B when `prune_ratio` is not given; fewer are trained, as draws repeat.
        beta_1: β₁, decay of a sample's score, per visit.
        beta_2: β₂, decay of the norms' scale, per optimizer step.
        alpha: α, smooths scores towards their mean. At 0 (ablation) a score of 0 never trains more.
        large_batch: B in samples; twice the batch size in the paper.

    Guarantees: with α > 0, unbiased for the mean gradient whatever the scores.
    Cost: 4 bytes a sample, and a logit-gradient norm per trained sample.

    Example:
        >>> from thresher import HistoricalReplacement, Pruner
        >>> pruner = Pruner(HistoricalReplacement(kappa=0.5), epochs=9, num_samples=10_000)
        >>> 3800 < len(pruner.plan(0)) < 4100  # 1 - exp(-1/2) = 0.39 of them
        True

    References:
        Learn from the Past: Dynamic Data Pruning with Historically Weighted Bernoulli Sampling, §5;
        Hansen and Hurwitz, Ann. Math. Statist. 14 (1943).
    """

    alpha: float = 0.1
    large_batch: int = 256

    claims_unbiased: ClassVar[bool] = True
    unbiased_for: ClassVar[str] = "the mean gradient"
    reference: ClassVar[Reference] = PAPER

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, "alpha", "[0, 1]", "a share")
        require_within(self, "large_batch", "[1, inf)", "samples of a large batch")

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        if epoch.target == 0:
            return Selection(kept=ledger.everyone)
        n, order = ledger.num_samples, epoch.order(ledger.everyone)
        size, score = min(self.large_batch, n), ledger["score"].numpy()
        draws, trained = self._draws_a_sample(ledger, order.numpy(), size, epoch.target)
        sizes = np.diff(np.append(np.arange(0, len(order), size), len(order)))
        num = np.maximum(within.quotas(sizes, round(draws * n), 0.5, ledger.population), 1)
        weights, generator = np.empty(len(order), np.float32), epoch.draws.generator("selection")
        for ids, weight in within.large_batches(size, order.numpy(), weights):
            of_these, num = num[: len(ids)], num[len(ids) :]
            count, g = within.counts(self._importance(score.take(ids)), of_these, generator)
            np.maximum(g, 1e-30, out=g)
            g *= (of_these / trained)[:, None]  # draws to expect, over K
            np.divide(count, g, out=weight, casting="same_kind")
        kept, column = torch.from_numpy(weights > 0), torch.from_numpy(weights)
        return Selection(kept=kept, weights=column, order=order, certain_weight=trained)

    def _importance(self, score: Array) -> Array:
        """Return a of large batches, one a row: float64; 1 where all scores are 0."""
        a = neutral(score).astype(np.float64)
        mean = a.mean(axis=1, keepdims=True)
        a = smoothed(a, mean, self.alpha)
        a[mean[:, 0] == 0] = 1.0
        return a

    def _draws_a_sample(
        self, ledger: Ledger, order: Array, size: int, target: float | None
    ) -> tuple[float, float]:
        """Return b / B, and the share of samples that so many draws reach: mean 1 - (1 - g)^b."""
        # Some 7·10⁴ samples tell the share to a thousandth.
        score, relative = ledger["score"].numpy(), [np.empty(0)]
        pieces = list(within.large_batches(size, order))
        for (ids,) in pieces[:: max(1, ledger.num_samples >> 16)]:
            a = self._importance(score.take(ids))
            relative.append((a / a.mean(axis=1, keepdims=True)).ravel())
        rate, mean = -np.minimum(np.concatenate(relative) / size, 1 - 1e-6), ledger.population.mean
        rate = np.log1p(rate, out=rate)
        rate *= -size
        draws = self.kappa if target is None else (1 - target) / mean(rate)
        while True:
            missed = np.exp(-draws * rate)
            trained = 1 - mean(missed)
            short = 0.0 if target is None else 1 - target - trained
            if short < 1e-9 or draws >= _MOST_DRAWS:
                return draws, trained
            # Newton's method on a concave function, from below: no step is too long.
            draws = min(_MOST_DRAWS, draws + short / mean(rate * missed))
