"""Log-determinant: samples whose gradients span as large a volume as possible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher.methods._method import Reference, require_within
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.gradients import Gradients, cosine_block
from thresher.static.kernel_rows import KernelRows
from thresher.static.parts import random_parts

# Below this share of its own variance a sample is spanned by S, as far as float32 can tell.
_SPANNED = 1e-4


@final
@dataclass(frozen=True, kw_only=True)
class LogDeterminant(SetMethod):
    """Greedily maximise f(S) = log det (s_ij)_{i, j in S}.

    s_ij = 0.5 + 0.5 cos(g_i, g_j) of the last-layer gradients; adding x gains
    log(s_xx − s_xS (s_SS)⁻¹ s_Sx), which an incremental Cholesky factor of k·n numbers keeps. If
    these would be more than `most_numbers`, the candidates are split at random into equal parts,
    each with its share of the budget. Once S spans everybody, det is 0 for every larger set: the
    rule then starts afresh with those that are left.

    Args:
        most_numbers: of a factor; 2²⁴ are 64 MiB, enough for half of 5,700 samples.
        seed: of the split.

    Guarantees: the exact greedy set within each part, and there is one part if k·n is at most
        `most_numbers`. f is submodular but not monotone, so greed has no bound.
    Cost: O(k²·n + k·n·(c + d)) a part; 4·n·(c + d) bytes and twice the factor. No kept library has
        it: apricot-select does not offer log-determinants, the DPP packages are not maintained.

    Example:
        >>> from thresher.static import Collected, LogDeterminant
        >>> p = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
        >>> data = Collected(labels=torch.tensor([0, 0, 0, 1]), num_classes=2, probabilities=p,
        ...                  features=torch.tensor([[1.0], [1.0], [-2.0], [1.0]]))
        >>> LogDeterminant().select(data, prune_ratio=0.5)[0].tolist()
        [0, 3]

    References:
        Kulesza and Taskar, sections 2 and 4; Chen, Zhang and Zhou, Fast Greedy MAP Inference for
        Determinantal Point Process (2018), Algorithm 1; the similarity is DeepCore's (2022).
    """

    most_numbers: int = 1 << 24
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("labels", "features", "probabilities")
    cost: ClassVar[str] = "a forward pass, O(k²·n + k·n·(c + d)) a part"
    reference: ClassVar[Reference] = Reference(
        title="Determinantal Point Processes for Machine Learning",
        authors="Kulesza, Taskar",
        year=2012,
        venue="Foundations and Trends in Machine Learning",
        arxiv="1207.6083",
    )

    def __post_init__(self) -> None:
        require_within(self, "most_numbers", "[1, inf)", "how many numbers a factor may have")

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        num_parts = math.ceil(math.sqrt(len(among) * budget / self.most_numbers))
        most = -(-len(among) // min(num_parts, budget))
        parts = random_parts(among, budget, most, self.seed)
        chosen = [ids[_spanning(Gradients(data, ids, unit=True), quota)] for ids, quota in parts]
        return torch.cat(chosen), None


def _spanning(gradients: Gradients, count: int) -> Tensor:
    """Return the positions of `count` unit gradients, greedily the largest volume."""
    num = len(gradients)
    rows, order = KernelRows(cosine_block(gradients), num), np.empty(count, dtype=np.int64)
    own = (0.5 + 0.5 * gradients.squared_norms()).double().numpy()
    # Row t: what the t-th of S explains of everybody, given those before it.
    factor, rank = np.empty((count, num), dtype=np.float32), 0
    left, variances = np.ones(num, dtype=np.bool_), own.copy()
    for step in range(count):
        if (variances[left] <= _SPANNED * own[left]).all():
            variances, rank = np.where(left, own, -np.inf), 0
        position = order[step] = int(variances.argmax())
        explained, known = factor[rank], factor[:rank]
        np.subtract(rows.row(position, variances), known[:, position] @ known, out=explained)
        explained /= math.sqrt(variances[position])
        variances -= np.square(explained, dtype=np.float64)
        variances[position], left[position] = -np.inf, False
        rank += 1
    return torch.from_numpy(order)
