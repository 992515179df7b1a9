"""k-center greedy: always the sample that is farthest from what is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.draws import Draws
from thresher.methods._method import Reference
from thresher.static._method import SetMethod
from thresher.static.collected import Collected
from thresher.static.kernel_rows import Block, KernelRows


@final
@dataclass(frozen=True, kw_only=True)
class KCenterGreedy(SetMethod):
    """Start anywhere, then add argmax_i min_{j in S} ‖h_i − h_j‖ until the set is full.

    Only the running minimum is kept, one number a sample. The exact greedy set, whatever n: rows of
    distances come in blocks of the samples that are far from all centres and therefore come next.
    No library was taken: scikit-learn and faiss search neighbours, but have no farthest-first rule.

    Args:
        first: the id to start from; None, or an id of another class if balanced: a random one.
        seed: of the random start.

    Guarantees: the radius max_i min_{j in S} ‖h_i − h_j‖ is at most twice the smallest possible for
        that many centres (per class, if balanced).
    Cost: O(k·n·d) time at worst, 4·n·d bytes and at most 128 MiB.

    Example:
        >>> from thresher.static import Collected, KCenterGreedy
        >>> data = Collected(features=torch.tensor([[0.0], [1.0], [5.0], [9.0]]))
        >>> KCenterGreedy(first=0).select(data, prune_ratio=0.25)[0].tolist()
        [0, 3, 2]

    References:
        Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach,
        ICLR 2018; Gonzalez, Clustering to minimize the maximum intercluster distance, 1985.
    """

    first: int | None = None
    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("features",)
    cost: ClassVar[str] = "O(k n d) time, 4 n d bytes"
    reference: ClassVar[Reference] = Reference(
        title="Active Learning for Convolutional Neural Networks: A Core-Set Approach",
        authors="Sener and Savarese",
        year=2018,
        venue="ICLR",
        arxiv="1708.00489",
    )

    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        assert data.features is not None
        start = starting_position(among, self.first, self.seed)
        block = squared_distances(data.features[among])
        return among[farthest_first(block, len(among), budget, start)], None


def starting_position(among: Tensor, first: int | None, seed: int) -> int:
    """Return where `first` is among the ids; else a random position."""
    found = np.flatnonzero(among.numpy() == first)
    if found.size:
        return int(found[0])
    return int(Draws(seed, 0).uniform(1, f"start {int(among[0])}", torch.float64) * len(among))


def farthest_first(block: Block, num: int, count: int, start: int) -> Tensor:
    """Return `count` of `num` positions: `start`, then always the one farthest from all before.

    Args:
        block: the distances, or any increasing function of them.
        num: the number of positions.
        count: from 1 to `num`.
        start: the first position.

    Returns:
        int64, shape (count,), in order of choice; of equally far ones the lowest first.
    """
    rows, nearest = KernelRows(block, num), np.full(num, np.inf, dtype=np.float32)
    order = np.empty(count, dtype=np.int64)
    order[0] = start
    for step in range(count):
        if step:
            order[step] = nearest.argmax()
        position = int(order[step])
        nearest[position] = -np.inf
        np.minimum(nearest, rows.row(position, nearest), out=nearest)
    return torch.from_numpy(order)


def squared_distances(points: Tensor) -> Block:
    """Return the block of squared Euclidean distances between points, shape (m, d).

    The points are moved to their mean first: what two squares have in common would cost digits.
    """
    centred = points - points.double().mean(0).float()
    squares = centred.square().sum(1)

    def block(positions: Array) -> Array:
        some = torch.from_numpy(positions)
        distances = (centred[some] @ centred.T).mul_(-2.0).add_(squares)
        return distances.add_(squares[some, None]).clamp_(min=0.0).numpy()

    return block
