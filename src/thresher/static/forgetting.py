"""Forgetting: keep the samples that training forgets most often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from thresher.methods._method import Reference
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class Forgetting(ScoreMethod):
    """Keep the samples that went most often from correct to incorrect, over a training run.

    The counts are a `TrainingRecorder`'s. A sample that was never correct counts +∞ (as in the Data
    Diet's code; that of the paper adds the number of presentations, which ranks the same).

    Guarantees: none on the gradient; nested over prune ratios. Many samples tie, most often at 0:
        the lower id wins.
    Cost: O(n log n) after a training run, 34 bytes a sample in the recorder.

    Example:
        >>> from thresher.static import Collected, Forgetting
        >>> data = Collected(scores={"forgetting": torch.tensor([0.0, 3.0, float("inf"), 0.0])})
        >>> Forgetting().select(data, prune_ratio=0.5)[0].tolist()
        [2, 1]

    References:
        Toneva et al., forgetting events.
    """

    needs: ClassVar[tuple[str, ...]] = ("forgetting",)
    cost: ClassVar[str] = "a training run, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="An Empirical Study of Example Forgetting during Deep Neural Network Learning",
        authors="Toneva et al.",
        year=2019,
        venue="ICLR",
        arxiv="1812.05159",
    )

    def score(self, data: Collected) -> Tensor:
        return data.signal("forgetting")
