"""CAL: samples whose prediction differs from those of samples that look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher.methods._method import Reference, require_within
from thresher.static._method import ScoreMethod
from thresher.static.collected import Collected
from thresher.static.k_center_greedy import squared_distances
from thresher.static.kernel_rows import chunks


@final
@dataclass(frozen=True, kw_only=True)
class CAL(ScoreMethod):
    """Keep the samples with the largest (1/m) Σ_j KL(p_j‖p_i) over their m nearest neighbours j.

    Neighbours are the nearest others by ‖h_i − h_j‖, among all samples: contrastive examples look
    alike and are predicted differently. The paper's neighbours are those with labels; here all have
    one. (DeepCore keeps the smallest divergences.) A probability below 10⁻³⁸ counts as that.

    Args:
        neighbours: m.

    Guarantees: none on the gradient; nested over prune ratios.
    Cost: O(n²·d) in blocks of 16 MiB, 4·n·d bytes (50,000 × 512: 30 s on one core). faiss-cpu is
        alive and installs, but a compiled dependency for a search that is 1.6 times as fast is not
        worth it; scikit-learn's brute force is the same blocks.

    Example:
        >>> from thresher.static import CAL, Collected
        >>> h = torch.tensor([[0.0], [0.1], [5.0], [5.1], [5.2]])
        >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
        >>> data = Collected(features=h, probabilities=p, num_classes=2)
        >>> CAL(neighbours=1).select(data, prune_ratio=0.4)[0].tolist()
        [2, 3, 4]

    References:
        Margatina et al., Algorithm 1, with its 10 neighbours.
    """

    neighbours: int = 10

    needs: ClassVar[tuple[str, ...]] = ("features", "probabilities")
    cost: ClassVar[str] = "a forward pass, O(n²·d)"
    reference: ClassVar[Reference] = Reference(
        title="Active Learning by Acquiring Contrastive Examples",
        authors="Margatina, Vernikos, Barrault, Aletras",
        year=2021,
        venue="EMNLP",
        arxiv="2109.03764",
    )

    def __post_init__(self) -> None:
        require_within(self, "neighbours", "[1, inf)", "a number of neighbours")

    def score(self, data: Collected) -> Tensor:
        assert data.features is not None
        assert data.probabilities is not None
        size, p = data.num_samples, data.probabilities
        count = min(self.neighbours, size - 1)
        logs = p.clamp_min(torch.finfo(torch.float32).tiny).log()
        block, score = squared_distances(data.features), torch.zeros_like(p[:, 0])
        for positions in chunks(size, size) if count else ():
            some = torch.from_numpy(positions)
            distances = torch.from_numpy(block(positions))
            distances[torch.arange(len(some), device="cpu"), some] = torch.inf
            near = distances.topk(count, dim=1, largest=False).indices
            differences = p[near] * (logs[near] - logs[some, None])
            score[some] = differences.sum(2).mean(1)
        return score
