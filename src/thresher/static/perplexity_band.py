"""A band of a reference model's perplexity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from thresher.methods._method import Reference, require_one_of
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class PerplexityBand(ScoreMethod):
    """Keep the documents of low, of middling or of high perplexity under a small reference model.

    Perplexity is exp of the mean loss over a document's tokens, so the score "loss" ranks the same.
    The reference model is trained on a part of the data that it does not score.

    Args:
        band: "low" and "high" keep an end; "medium" the ranks around the median, from 50 − κ/2 to
            50 + κ/2 percent when κ percent are kept. Which is best depends on the data, and is
            chosen by validation.

    Guarantees: none on the gradient; nested over prune ratios. A loss that is no number ranks
        first, whatever the band.
    Cost: O(n log n) after one forward pass of the small model.

    Example:
        >>> from thresher.static import Collected, PerplexityBand
        >>> data = Collected(scores={"loss": torch.tensor([9.0, 2.0, 3.0, 1.0, 4.0])})
        >>> PerplexityBand(band="medium").select(data, prune_ratio=0.4)[0].tolist()
        [2, 1, 4]

    References:
        Ankner et al., low, medium and high selection.
    """

    band: Literal["low", "medium", "high"] = "medium"

    needs: ClassVar[tuple[str, ...]] = ("loss",)
    cost: ClassVar[str] = "a forward pass of a small model, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="Perplexed by Perplexity: Perplexity-Based Data Pruning With Small Reference Models",
        authors="Ankner et al.",
        year=2024,
        arxiv="2405.20541",
    )

    def __post_init__(self) -> None:
        require_one_of(self, "band", "low", "medium", "high")

    def score(self, data: Collected) -> Tensor:
        loss = data.signal("loss").double()
        if self.band != "medium":
            return loss if self.band == "high" else -loss
        is_number = loss.isfinite().numpy()
        order = np.argsort(np.where(is_number, loss.numpy(), np.inf), kind="stable")
        distance = np.empty(len(order))
        distance[order] = np.abs(np.arange(len(order)) - (np.count_nonzero(is_number) - 1) / 2)
        return torch.from_numpy(np.where(is_number, -distance, np.nan))
