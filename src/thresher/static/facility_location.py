"""Facility location: everybody should be like somebody who was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from thresher.methods._method import Reference, require_within
from thresher.static._facility import Coverage, Representatives
from thresher.static._gradients import Gradients, cosine_block
from thresher.static._method import SetMethod
from thresher.static._parts import generator_of
from thresher.static._rows import Block
from thresher.static.collect import Collected


@final
@dataclass(frozen=True, kw_only=True)
class FacilityLocation(SetMethod):
    """Greedily maximise f(S) = Σ_i max_{j in S} s_ij over the samples.

    s_ij = 0.5 + 0.5 cos(g_i, g_j) of the last-layer gradients. Adding x gains
    Σ_i max(s_ix − max_S s_ij, 0). Up to `exact_up_to` candidates the greedy set is exact (lazy
    bounds); among more, each step looks at (n / k)·ln(1/ε) random candidates.
    apricot-select was not taken: it wants the whole n × n matrix (1.4 GB at n = 10,000) and was
    last released in 2021.

    Args:
        exact_up_to: the most candidates (of a class, if balanced) to be exact for.
        epsilon: ε of the stochastic greedy rule.
        seed: of its candidates.

    Guarantees: f(S) >= (1 − 1/e) of the best set's; stochastic, (1 − 1/e − ε) in expectation.
    Cost: exact O(n²·(c + d)) time and more, as bounds fail; stochastic O(ln(1/ε)·n²·(c + d)).
        4·n·(c + d) bytes and at most 256 MiB.

    Example:
        >>> p = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
        >>> data = Collected(labels=torch.tensor([0, 0, 0, 1]), num_classes=2, probabilities=p,
        ...                  features=torch.tensor([[1.0], [1.0], [-2.0], [1.0]]))
        >>> FacilityLocation().select(data, prune_ratio=0.5)[0].tolist()
        [0, 3]

    References:
        Wei, Iyer and Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015;
        Guo, Zhao and Bai, DeepCore, 2022 (the similarity); Minoux 1978 (lazy bounds).
    """

    exact_up_to: int = 10_000
    epsilon: float = 0.01
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "O(n² (c + d)) time, 4 n (c + d) bytes"
    reference: ClassVar[Reference] = Reference(
        title="Submodularity in Data Subset Selection and Active Learning",
        authors="Wei, Iyer and Bilmes",
        year=2015,
        venue="ICML",
    )

    def __post_init__(self) -> None:
        require_within(self, "epsilon", "(0, 1)", "a small share of the optimum")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        block = cosine_block(Gradients(data, among, unit=True))
        chosen = representatives(self, block, budget, among)
        return among[torch.from_numpy(chosen.order)], None
