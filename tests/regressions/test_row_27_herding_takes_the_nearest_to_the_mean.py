"""DeepCore's herding takes the argmax of the distance: at each step the sample that is worst.

Of 500 normal points the mean of 50 is then 2.13 from the mean of all, where 50 at random are 0.53
away and herding 0.06.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from thresher.static import Collected, Herding

SIZE, COUNT, FEATURES = 500, 50, 16


def points(seed: int, size: int = SIZE) -> Tensor:
    return torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(seed))


def literal(rows: Tensor, count: int, best: Callable[[Tensor], Tensor]) -> list[int]:
    """Add the `best` of ‖(k+1)μ − Σ_S h − h_x‖, with everything computed anew in float64."""
    rows, chosen = rows.double(), list[int]()
    for _ in range(count):
        aim = (len(chosen) + 1) * rows.mean(0) - rows[chosen].sum(0)
        left = [i for i in range(len(rows)) if i not in chosen]
        chosen.append(left[int(best((aim - rows[left]).norm(dim=1)))])
    return chosen


def off(rows: Tensor, ids: list[int]) -> float:
    """How far the mean of some is from the mean of all."""
    return float((rows[ids].mean(0) - rows.mean(0)).norm())


def herded(rows: Tensor, count: int = COUNT) -> list[int]:
    data = Collected(features=rows)
    return Herding().select(data, prune_ratio=1 - count / len(rows))[0].tolist()


def test_the_fault_shows() -> None:
    rows = points(0)
    at_random = torch.randperm(SIZE, generator=torch.Generator().manual_seed(1))[:COUNT].tolist()
    assert off(rows, literal(rows, COUNT, torch.argmax)) > 2 * off(rows, at_random)


@pytest.mark.parametrize("seed", range(3))
def test_herding_takes_the_nearest_to_the_mean(seed: int) -> None:
    rows = points(seed)
    assert herded(rows) == literal(rows, COUNT, torch.argmin)


@pytest.mark.parametrize("count", [5, 50, 200])
def test_herding_is_nearer_to_the_mean_than_any_random_choice(count: int) -> None:
    rows, generator = points(3), torch.Generator().manual_seed(0)
    at_random = [
        off(rows, torch.randperm(SIZE, generator=generator)[:count].tolist()) for _ in range(200)
    ]
    assert off(rows, herded(rows, count)) < min(at_random)
