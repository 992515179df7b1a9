"""GradMatch: few gradients, weighted so that their sum is the sum of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from thresher.draws import Draws
from thresher.methods._method import Reference, require_one_of, require_within
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.gradients import GradientGroups, Gradients
from thresher.static.matching import match
from thresher.static.parts import random_parts

# The share of the mean weight that a sample gets which fills up the budget.
_LEAST_WEIGHT = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class GradMatch(SetMethod):
    """Choose S and w >= 0 for min ‖Σ_S w_i g_i − Σ g_i‖² + λ‖w‖² by orthogonal matching pursuit.

    g are last-layer gradients. After each addition all weights are solved again (non-negative least
    squares; who would get a negative weight leaves). scipy's nnls was not taken: it starts from
    nothing at each call (5 s for 1,600 samples); the active set kept here takes a millisecond.
    Samples that cannot help fill up the budget, with a thousandth of the mean weight.

    Run it again every few epochs, on what the model says then: `Pruner.replace_subset` between
    epochs; training on everything before is the paper's warm start.

    Args:
        balanced: per class, as published; False for all samples together.
        lam: λ.
        per: "sample", or "batch": random batches are chosen whole, by their mean gradients.
        batch_size: of those; a last, smaller one counts by its size.
        rows: "all" of the last layer's gradient, or that of the sample's "own_class" alone.
        most_numbers: k·n of a problem, at most; if it is more, the samples are split at random into
            equal parts, each matched to its own sum. 2²⁴ are 160 MiB, half of 5,700 samples.
        seed: of batches and parts.

    Guarantees: the error of the sum is at most the sum of the parts' errors; with k = n the
        weights are those of the best ridge solution. Weights are positive.
    Cost: O(k²·(n + k)) a part; 4·n·(c + d) bytes and 10 bytes for each of the k·n numbers.

    Example:
        >>> from thresher.static import Collected, GradMatch
        >>> data = Collected(labels=torch.zeros(4, dtype=torch.int64), num_classes=2,
        ...                  probabilities=torch.full((4, 2), 0.5),
        ...                  features=torch.tensor([[4.0], [4.0], [-1.0], [4.0]]))
        >>> ids, weights = GradMatch(lam=0.01).select(data, prune_ratio=0.5)
        >>> ids.tolist(), [round(weight, 1) for weight in weights.tolist()]
        ([0, 2], [3.0, 1.0])

    References:
        Killamsetty et al., section 3 and Algorithm 2; λ = 0.5 as in its code, CORDS.
    """

    balanced: bool = True
    lam: float = 0.5
    per: Literal["sample", "batch"] = "sample"
    batch_size: int = 128
    rows: Literal["all", "own_class"] = "all"
    most_numbers: int = 1 << 24
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "a forward pass, O(k²·(n + k)) a part"
    reference: ClassVar[Reference] = Reference(
        title="GRAD-MATCH: Gradient Matching based Data Subset Selection for Efficient Deep Model "
        "Training",
        authors="Killamsetty, Sivasubramanian, Ramakrishnan, De, Iyer",
        year=2021,
        venue="ICML",
        arxiv="2103.00123",
    )

    def __post_init__(self) -> None:
        require_within(self, "lam", "[0, inf)", "the price of large weights")
        require_one_of(self, "per", "sample", "batch")
        require_one_of(self, "rows", "all", "own_class")
        require_within(self, "batch_size", "[1, inf)", "a number of samples")
        require_within(self, "most_numbers", "[1, inf)", "how many numbers a problem may have")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        size = self.batch_size if self.per == "batch" else 1
        num_parts = math.ceil(math.sqrt(len(among) * budget / self.most_numbers) / size)
        most = -(-len(among) // min(num_parts, budget))
        parts = random_parts(among, budget, most, self.seed)
        chosen = [self._matched(data, ids, quota, size) for ids, quota in parts]
        return torch.cat([ids for ids, _ in chosen]), torch.cat([w for _, w in chosen])

    def _matched(
        self, data: Collected, ids: Tensor, budget: int, size: int
    ) -> tuple[Tensor, Tensor]:
        if size > 1:
            ids = ids[Draws(self.seed, 0).permutation(len(ids), "batches")]
        gradients = Gradients(data, ids)
        if self.rows == "own_class":
            assert data.labels is not None
            gradients.residuals = gradients.residuals.gather(1, data.labels[ids, None])
        groups = GradientGroups(gradients, size)
        found = match(
            groups.block, groups.squares(), groups.towards(), -(-budget // size), self.lam
        )
        order = groups.members(found.order)[:budget]
        weights = torch.from_numpy(found.weights).repeat_interleave(size)[order]
        helping = weights > 0
        least = _LEAST_WEIGHT * weights[helping].mean() if helping.any() else 1.0
        return ids[order], torch.where(helping, weights, least).float()
