"""A random subset, drawn once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher.draws import Draws
from thresher.methods._method import Reference
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class Random(ScoreMethod):
    """Keep samples drawn uniformly without replacement: the baseline of every static method.

    Args:
        seed: of the draw; one seed's choices are nested over prune ratios.

    Guarantees: unbiased for the mean gradient over seeds, not over the epochs of a run.
    Cost: O(n log n); 8 bytes a sample.

    Example:
        >>> from thresher.static import Collected, Random
        >>> data = Collected(scores={"loss": torch.zeros(10)})
        >>> len(Random().select(data, prune_ratio=0.7)[0])
        3

    References:
        Guo et al., DeepCore (2022), where no method beats it at every size; Table 1 of the RePB
        paper.
    """

    seed: int = 0

    unbiased_for: ClassVar[str] = "the mean gradient, over seeds"
    cost: ClassVar[str] = "O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="DeepCore: A Comprehensive Library for Coreset Selection in Deep Learning",
        authors="Guo, Zhao, Bai",
        year=2022,
        arxiv="2204.08499",
    )

    def score(self, data: Collected) -> Tensor:
        return Draws(self.seed, 0).uniform(data.num_samples, "static", dtype=torch.float64)
