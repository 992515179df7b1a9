"""Graph cut: samples that are like all others, but not like each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import SettingError
from thresher.methods._method import Reference
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.gradients import Gradients, cosine_block
from thresher.static.kernel_rows import KernelRows


@final
@dataclass(frozen=True, kw_only=True)
class GraphCut(SetMethod):
    """Greedily maximise f(S) = λ Σ_{i in V} Σ_{j in S} s_ij − Σ_{i, j in S} s_ij.

    s_ij = 0.5 + 0.5 cos(g_i, g_j) of the last-layer gradients. Adding x gains
    λ Σ_V s_ix − 2 Σ_S s_jx − s_xx. The first sum comes from one sum of all unit gradients, the
    second grows by one row a step: the exact greedy set, whatever n.
    apricot-select was not taken: it wants the whole n × n matrix (1.4 GB at n = 10,000) and was
    last released in 2021.

    Args:
        lam: λ, how much being like all others counts. f is monotone from λ = 2; below, the last
            gains of a large set are negative, and the set is filled nevertheless.

    Guarantees: f is submodular; where it is monotone, f(S) >= (1 − 1/e) of the best, less f's
        offset.
    Cost: O(k·n·(c + d)) time at worst, 4·n·(c + d) bytes and at most 128 MiB.

    Example:
        >>> from thresher.static import Collected, GraphCut
        >>> p = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
        >>> data = Collected(labels=torch.tensor([0, 0, 0, 1]), num_classes=2, probabilities=p,
        ...                  features=torch.tensor([[1.0], [1.0], [-2.0], [1.0]]))
        >>> GraphCut().select(data, prune_ratio=0.5)[0].tolist()
        [0, 3]

    References:
        Iyer et al., Submodular Combinatorial Information Measures with Applications in Machine
        Learning, ALT 2021; Guo, Zhao and Bai, DeepCore, 2022 (the similarity).
    """

    lam: float = 1.0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "O(k n (c + d)) time, 4 n (c + d) bytes"
    reference: ClassVar[Reference] = Reference(
        title="Submodular Combinatorial Information Measures with Applications in Machine Learning",
        authors="Iyer et al.",
        year=2021,
        venue="ALT",
        arxiv="2006.15412",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise SettingError(f"GraphCut(lam={self.lam})", "a finite weight of 0 or more")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        gradients = Gradients(data, among, unit=True)
        return among[self.greedy(gradients, budget)], None

    def greedy(self, gradients: Gradients, count: int) -> Tensor:
        """Return the positions of `count` unit gradients in greedy order."""
        num = len(gradients)
        own = gradients.squared_norms()
        to_all = 0.5 * num + 0.5 * gradients.along(gradients.total())
        gains = (self.lam * to_all - (0.5 + 0.5 * own)).double().numpy()
        rows, order = KernelRows(cosine_block(gradients), num), np.empty(count, dtype=np.int64)
        for step in range(count):
            position = order[step] = int(gains.argmax())
            gains[position] = -np.inf
            gains -= 2 * rows.row(position, gains)
        return torch.from_numpy(order)
