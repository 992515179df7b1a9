"""DeepFool: keep the samples nearest to a decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from thresher.methods._method import Reference
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class DeepFool(ScoreMethod):
    """Keep the samples whose prediction the smallest perturbation of the input flips.

    The score "deepfool" is the squared length of that perturbation, found by stepping to the
    nearest linearised boundary, up to 50 times, among the ten likeliest classes; a sample that did
    not flip by then counts with how far it went. `collect(model, loader, needs=DeepFool.needs)`
    takes it. (DeepCore's code writes in place to a leaf that requires a gradient, which a CPU
    refuses; here each step starts from a new leaf.)

    Guarantees: none on the gradient; nested over prune ratios.
    Cost: up to 50 forward and 450 backward passes to collect; O(n log n) to select.

    Example:
        >>> from thresher.static import Collected, DeepFool
        >>> data = Collected(scores={"deepfool": torch.tensor([4.0, 0.1, 9.0, 0.5])})
        >>> DeepFool().select(data, prune_ratio=0.5)[0].tolist()
        [1, 3]

    References:
        Ducoffe and Precioso, for the rule; Moosavi-Dezfooli et al., DeepFool (CVPR 2016), for the
        perturbation.
    """

    needs: ClassVar[tuple[str, ...]] = ("deepfool",)
    cost: ClassVar[str] = "up to 50 forward and 450 backward passes, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="Adversarial Active Learning for Deep Networks: a Margin Based Approach",
        authors="Ducoffe, Precioso",
        year=2018,
        arxiv="1802.09841",
    )

    def score(self, data: Collected) -> Tensor:
        return -data.signal("deepfool")
