"""Least confidence: keep the samples whose likeliest class is least likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from thresher.methods._method import Reference
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class LeastConfidence(ScoreMethod):
    """Keep the samples with the largest 1 − max_k p_k.

    The most uncertain are kept, balanced or not; and p are probabilities. (In DeepCore's code the
    unbalanced path keeps the most certain, and this rule reads logits.)

    Guarantees: none on the gradient; nested over prune ratios.
    Cost: O(n log n) after one forward pass.

    Example:
        >>> from thresher.static import Collected, LeastConfidence
        >>> p = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]])
        >>> data = Collected(num_classes=2, probabilities=p)
        >>> LeastConfidence().select(data, prune_ratio=0.4)[0].tolist()
        [1, 2]

    References:
        Coleman et al., uncertainty rules as they are used for coresets.
    """

    needs: ClassVar[tuple[str, ...]] = ("least_confidence",)
    cost: ClassVar[str] = "a forward pass, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="Selection via Proxy: Efficient Data Selection for Deep Learning",
        authors="Coleman et al.",
        year=2020,
        venue="ICLR",
        arxiv="1906.11829",
    )

    def score(self, data: Collected) -> Tensor:
        return data.signal("least_confidence")
