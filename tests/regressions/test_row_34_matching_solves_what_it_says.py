"""CORDS: its OMP on a CPU ignores λ, and appends a column a second time without its index.

Its r-greedy GLISTER adds int(budget / r) at a time, so it never ends where the budget is below r,
and returns as many weights as it was asked for even where it added more. Its CRAIG needs all pairs.
(That nothing here makes an array of all pairs is row 32's test.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from static.dense import gradients, one_class
from static.found import made_up
from thresher.static import GLISTER, Collected, GradMatch
from thresher.static.matching import match


def ridge(rows: Tensor, aim: Tensor, lam: float) -> Tensor:
    """The w of min ‖Σ w_i g_i − aim‖² + λ‖w‖², as the normal equations have it."""
    gram = rows @ rows.T + lam * torch.eye(len(rows), dtype=torch.float64)
    return torch.linalg.solve(gram, rows @ aim)


def matched(data: Collected, lam: float, ratio: float) -> tuple[Tensor, Tensor]:
    return GradMatch(lam=lam, balanced=False).select(data, prune_ratio=ratio)


@pytest.mark.parametrize("lam", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_ridge_solution_of_the_chosen(seed: int, lam: float) -> None:
    data = made_up(40, seed=seed)
    ids, weights = matched(data, lam, 0.8)
    rows = gradients(data)
    solution = ridge(rows[ids], rows.sum(0), lam)
    assert bool((solution > 0).all()), "the active set, which no weight of 0 is in"
    assert torch.allclose(weights.double(), solution, rtol=1e-3)


def test_a_larger_price_makes_smaller_weights() -> None:
    """The fault ignores λ: all of these would be the same."""
    data = made_up(40)
    lengths = [float(matched(data, lam, 0.8)[1].norm()) for lam in (0.0, 0.5, 5.0, 50.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 0.9 * lengths[0]


def copies() -> Collected:
    """Each sample three times: a column that was chosen has twins that are as good."""
    data, which = one_class(8), torch.arange(24) % 8
    assert data.labels is not None
    assert data.features is not None
    assert data.probabilities is not None
    return replace(
        data,
        labels=data.labels[which],
        features=data.features[which],
        probabilities=data.probabilities[which],
    )


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_a_repeated_column_has_one_index_and_one_weight(lam: float) -> None:
    data = copies()
    for count in (1, 5, 12, 24):
        ids, weights = matched(data, lam, 1 - count / 24)
        assert len(ids.unique()) == len(ids) == len(weights) == count


def test_a_twin_of_a_chosen_column_cannot_help() -> None:
    """Unless weights have a price, which two may share."""
    rows = np.repeat(np.eye(3), 2, axis=0).astype(np.float32)
    gram = rows @ rows.T
    found = match(lambda some: gram[some], np.ones(6), rows @ np.array([3.0, 2.0, 1.0]), 3, 0.0)
    assert sorted(found.order.tolist()) == list(range(6))
    assert sorted(i // 2 for i in found.order[:3].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 29, 31])
def test_rounds_end_and_add_exactly_the_budget(count: int) -> None:
    """r is 15: below it, not divided by it, and above."""
    assert GLISTER().rounds == 15
    ids, weights = GLISTER().select(made_up(40), prune_ratio=1 - count / 40)
    assert len(ids.unique()) == len(ids) == len(weights) == count
