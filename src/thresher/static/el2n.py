"""EL2N: keep the samples with the largest error vectors early in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from thresher.methods._method import Reference
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class EL2N(ScoreMethod):
    """Keep the samples with the largest E‖softmax(z) − y‖₂.

    The mean is over independent runs, ten or more in the paper, each stopped after a few epochs (20
    of 200): pass their models to `collect` together. In [0, √2] per run.

    Guarantees: none on the gradient; nested over prune ratios.
    Cost: O(n log n) after one forward pass a model.

    Example:
        >>> from thresher.static import EL2N, Collected
        >>> data = Collected(scores={"el2n": torch.tensor([0.1, 1.2, 0.7, 0.2])})
        >>> EL2N().select(data, prune_ratio=0.5)[0].tolist()
        [1, 2]

    References:
        Paul et al., the error L2-norm score.
    """

    needs: ClassVar[tuple[str, ...]] = ("el2n",)
    cost: ClassVar[str] = "a forward pass a model, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="Deep Learning on a Data Diet: Finding Important Examples Early in Training",
        authors="Paul, Ganguli, Dziugaite",
        year=2021,
        venue="NeurIPS",
        arxiv="2107.07075",
    )

    def score(self, data: Collected) -> Tensor:
        return data.signal("el2n")
