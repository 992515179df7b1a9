"""Contextual diversity: k-center greedy among predictions instead of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.methods._method import Reference
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.k_center_greedy import farthest_first, starting_position
from thresher.static.kernel_rows import Block


@final
@dataclass(frozen=True, kw_only=True)
class ContextualDiversity(SetMethod):
    """Start anywhere, then add argmax_i min_{j in S} KL(p_i‖p_j) + KL(p_j‖p_i).

    The symmetric divergence is Σ (p_i − p_j)(log p_i − log p_j) over the classes: two matrix
    products, so a block of it costs what one of inner products does. A probability below 10⁻³⁸
    counts as that. The exact greedy set, whatever n. The paper has mixtures over the pixels of an
    image as p; of a classifier it is the prediction, as its successors use it.

    Args:
        first: the id to start from; None, or an id of another class if balanced: a random one.
        seed: of the random start.

    Guarantees: none on the radius, for the divergence keeps no triangle inequality.
    Cost: O(k·n·c) time at worst, 16·n·c bytes and at most 128 MiB.

    Example:
        >>> from thresher.static import Collected, ContextualDiversity
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
        >>> data = Collected(probabilities=p, num_classes=2)
        >>> ContextualDiversity(first=0).select(data, prune_ratio=0.25)[0].tolist()
        [0, 3, 2]

    References:
        Agarwal et al., Contextual Diversity for Active Learning, ECCV 2020.
    """

    first: int | None = None
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("probabilities",)
    cost: ClassVar[str] = "O(k n c) time, 16 n c bytes"
    reference: ClassVar[Reference] = Reference(
        title="Contextual Diversity for Active Learning",
        authors="Agarwal et al.",
        year=2020,
        venue="ECCV",
        arxiv="2008.05723",
    )

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        assert data.probabilities is not None
        start = starting_position(among, self.first, self.seed)
        block = symmetric_divergences(data.probabilities[among])
        return among[farthest_first(block, len(among), budget, start)], None


def symmetric_divergences(probabilities: Tensor) -> Block:
    """Return the block of KL(p‖q) + KL(q‖p) between predictions, shape (m, c), in nats."""
    logs = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
    both, swapped = torch.cat([probabilities, logs], 1), torch.cat([logs, probabilities], 1)
    negative_entropies = (probabilities * logs).sum(1)

    def block(positions: Array) -> Array:
        some = torch.from_numpy(positions)
        divergences = (swapped[some] @ both.T).neg_().add_(negative_entropies)
        return divergences.add_(negative_entropies[some, None]).clamp_(min=0.0).numpy()

    return block
