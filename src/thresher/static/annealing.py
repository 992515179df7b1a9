"""Simulated annealing for a set of outer products whose sum is short."""

from __future__ import annotations

import torch
from torch import Tensor

from thresher.draws import Draws

# Pairs that are offered a swap together: few enough that the sum they are judged against holds.
_FEWEST, _MOST, _SHARE = 32, 512, 32


def least_norm(left: Tensor, right: Tensor, size: int, sweeps: int, draws: Draws) -> Tensor:
    """Return a set W of `size` rows with a small E = ‖Σ_{i∈W} a_i ⊗ b_i‖²: bool, shape (n,).

    Every member is paired, at random, with a row outside; a swap that changes E by δ is accepted
    with probability min(1, exp(−δ/T)), T falling from half the mean ‖a_i ⊗ b_i‖² to 0 over the
    sweeps. Swaps are judged in blocks against the same sum; of those accepted
    together only so many are made, drawn at random, as minimise E along their common direction.

    Args:
        left: a, float32, shape (n, c).
        right: b, float32, shape (n, d).
        size: from 0 to n.
        sweeps: how often every pair is offered.
        draws: of the start and the swaps.

    Cost: O(sweeps·n·c·d).
    """
    count = len(left)
    generator = draws.generator("annealing")
    order = torch.randperm(count, generator=generator, device="cpu")
    inside, outside = order[:size].clone(), order[size:].clone()
    pairs = min(len(inside), len(outside))
    together = max(_FEWEST, min(_MOST, pairs // _SHARE))
    squares = left.square().sum(1) * right.square().sum(1)
    for sweep in range(sweeps if pairs else 0):
        total = left[inside].T @ right[inside]  # anew, so that no rounding gathers
        heat = 0.5 * float(squares.mean()) * (1 - (sweep + 1) / sweeps) ** 2
        for side in (inside, outside):
            side.copy_(side[torch.randperm(len(side), generator=generator, device="cpu")])
        for start in range(0, pairs, together):
            block = slice(start, min(start + together, pairs))
            gone, come = inside[block], outside[block]
            swap = _swaps(left, right, squares, total, gone, come, heat, generator)
            total += _sum(left, right, come[swap]) - _sum(left, right, gone[swap])
            inside[block], outside[block] = (
                torch.where(swap, come, gone),
                torch.where(swap, gone, come),
            )
    members = torch.zeros(count, dtype=torch.bool, device="cpu")
    members[inside] = True
    return members


def _swaps(
    left: Tensor,
    right: Tensor,
    squares: Tensor,
    total: Tensor,
    gone: Tensor,
    come: Tensor,
    heat: float,
    generator: torch.Generator,
) -> Tensor:
    """Return which of a block's swaps to make: bool, shape (pairs,)."""
    left_gone, right_gone, left_come, right_come = left[gone], right[gone], left[come], right[come]
    along = ((right_come @ total.T) * left_come).sum(1) - ((right_gone @ total.T) * left_gone).sum(
        1
    )
    inner = (left_gone * left_come).sum(1) * (right_gone * right_come).sum(1)
    length = squares[gone] + squares[come] - 2 * inner
    change = 2 * along + length
    chance = torch.rand(2, len(gone), generator=generator, dtype=torch.float32, device="cpu")
    accepted = change <= -heat * chance[0].log()
    joint = (
        left_come[accepted].T @ right_come[accepted] - left_gone[accepted].T @ right_gone[accepted]
    )
    best = -float(along[accepted].sum()) / max(float(joint.square().sum()), 1e-30)
    return accepted & (chance[1] < best)


def _sum(left: Tensor, right: Tensor, ids: Tensor) -> Tensor:
    return left[ids].T @ right[ids]
