"""MoSo: keep the samples without which the empirical risk would rise most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from thresher.methods._method import Reference, require_one_of
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected


@final
@dataclass(frozen=True, kw_only=True)
class MoSo(ScoreMethod):
    """Keep the samples with the largest Σ_t η_t ⟨ḡ_t − g_i/n, g_i⟩ over checkpoints t.

    To first order that is by how much a step on all the others lowers the risk less than a step on
    everybody would: samples that agree with the mean gradient matter most. Here g_i is the last
    linear layer's gradient, in factored form. For several checkpoints collect the score from all of
    them: `collect(models, loader, needs=MoSo.needs, weights=learning_rates)`; the paper takes about
    ten, of surrogates trained for 50 epochs on eight disjoint parts.

    Args:
        balanced: the paper chooses within classes.
        form: "approximate" as above; "exact" is (2n−3)/(n−1)²·‖ḡ‖² − ‖g_i‖²/(n−1)² +
            (2n−4)/(n−1)²·⟨ḡ − g_i/n, g_i⟩, which the paper simplifies: the score "moso_exact".

    Guarantees: none on the gradient; nested over prune ratios unless balanced.
    Cost: a forward pass a checkpoint, O(n·c·d); two passes over features and probabilities.

    Example:
        >>> from thresher.static import Collected, MoSo
        >>> data = Collected(scores={"moso": torch.tensor([0.1, -1.0, 0.4, 0.0])})
        >>> MoSo(balanced=False).select(data, prune_ratio=0.5)[0].tolist()
        [2, 0]

    References:
        Tan et al., and their released scoring code.
    """

    balanced: bool = True
    form: Literal["approximate", "exact"] = "approximate"

    needs: ClassVar[tuple[str, ...]] = ("moso",)
    cost: ClassVar[str] = "a forward pass a checkpoint, O(n·c·d)"
    reference: ClassVar[Reference] = Reference(
        title="Data Pruning via Moving-one-Sample-out",
        authors="Tan et al.",
        year=2023,
        venue="NeurIPS",
        arxiv="2310.14664",
    )

    def __post_init__(self) -> None:
        require_one_of(self, "form", "approximate", "exact")

    def wants(self) -> tuple[str, ...]:
        return ("moso",) if self.form == "approximate" else ("moso_exact",)

    def score(self, data: Collected) -> Tensor:
        return data.signal(self.wants()[0])
