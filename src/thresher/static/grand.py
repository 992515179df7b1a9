"""GraND: keep the samples with the largest gradients at or near initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from thresher.methods._method import Reference, require_one_of
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class GraND(ScoreMethod):
    """Keep the samples with the largest E‖∇_θ ℓ_i(θ_e)‖₂.

    The mean is over initialisations, each trained for e epochs (0 in the paper's theory, 4 in
    "GraND-4"): pass their models to `collect` together.

    Args:
        parameters: "all" takes the gradient of every trainable parameter, as the paper does: the
            score "grand". "last_layer" takes ‖p − y‖·√(1 + ‖h‖²), which is exactly that of the last
            linear layer's weight and bias: the score "grand_last_layer". Published code averages
            losses over a batch first, so that samples of a short last batch come out too large.

    Guarantees: none on the gradient; nested over prune ratios.
    Cost: "all" a forward and a backward pass a model, 64 MB of per-sample gradients at a time;
        "last_layer" a forward pass. O(n log n).

    Example:
        >>> from thresher.static import Collected, GraND
        >>> data = Collected(scores={"grand": torch.tensor([0.1, 3.0, 2.0, 0.2])})
        >>> GraND().select(data, prune_ratio=0.5)[0].tolist()
        [1, 2]

    References:
        Paul et al., the gradient norm score.
    """

    parameters: Literal["all", "last_layer"] = "all"

    needs: ClassVar[tuple[str, ...]] = ("grand",)
    cost: ClassVar[str] = "a forward and a backward pass a model, O(n log n)"
    reference: ClassVar[Reference] = Reference(
        title="Deep Learning on a Data Diet: Finding Important Examples Early in Training",
        authors="Paul, Ganguli, Dziugaite",
        year=2021,
        venue="NeurIPS",
        arxiv="2107.07075",
    )

    def __post_init__(self) -> None:
        require_one_of(self, "parameters", "all", "last_layer")

    def wants(self) -> tuple[str, ...]:
        return ("grand",) if self.parameters == "all" else ("grand_last_layer",)

    def score(self, data: Collected) -> Tensor:
        return data.signal(self.wants()[0])
