"""Cheaper orders: random inside blocks of neighbours, and parts of one that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thresher.draws import Draws, systematic
from thresher.plan import Epoch

BLOCK = 1 << 12


@pytest.mark.parametrize("num", [0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_every_block_is_a_permutation_of_itself(num: int) -> None:
    order = Draws(0, 1).local_order(num, "a")
    assert order.dtype == torch.int64
    for start in range(0, num, BLOCK):
        block = order[start : start + BLOCK]
        assert block.sort().values.tolist() == list(range(start, min(start + BLOCK, num)))


def test_blocks_differ_and_purposes_too() -> None:
    order = Draws(0, 1).local_order(2 * BLOCK, "a")
    assert not torch.equal(order[:BLOCK], order[BLOCK:] - BLOCK)
    assert not torch.equal(order, Draws(0, 1).local_order(2 * BLOCK, "b"))


def test_inside_a_block_everybody_comes_anywhere_and_pairs_come_either_way() -> None:
    draws = 2000
    orders = np.stack([Draws(3, k).local_order(BLOCK, "a").numpy() for k in range(draws)])
    place = orders.argsort(axis=1)
    middle = (BLOCK - 1) / 2
    error = BLOCK / (12 * draws) ** 0.5
    assert abs(place.mean(axis=0) - middle).max() < 5.5 * error
    first = (place[:, 1:] < place[:, :-1]).mean(axis=0)
    assert abs(first - 0.5).max() < 5.5 * (0.25 / draws) ** 0.5
    # Over all neighbours a tie in 2¹⁹ pairs is beyond what so many can show.
    assert abs(first.mean() - 0.5) < 5 * (0.25 / (draws * BLOCK)) ** 0.5


def test_systematic_draws_along_it_keep_chances_and_no_pattern() -> None:
    """Equal chances along ids that ascend would keep every other sample, always the same two sets.

    Over blocks, each sample is kept with its chance, and neighbours nearly independently.
    """
    num, draws = 2 * BLOCK + 100, 200
    p = torch.full((num,), 0.5, dtype=torch.float64)
    kept = np.zeros(num)
    both = np.zeros(num - 1)
    for epoch in range(draws):
        stream = Draws(0, epoch)
        offset = stream.uniform(1, "offset", torch.float64).item()
        mask = systematic(p, stream.local_order(num, "a"), offset).numpy()
        assert abs(int(mask.sum()) - num // 2) <= 1
        kept += mask
        both += mask[1:] & mask[:-1]
    assert abs(kept / draws - 0.5).max() < 5.5 * (0.25 / draws) ** 0.5
    # Chances of pairs: 1/4 each, of 200 draws of 32,867 pairs that hardly depend on each other.
    assert abs(both.mean() / draws - 0.25) < 4 * (0.1875 / (draws * num)) ** 0.5


def test_a_part_has_the_order_of_the_whole_whether_that_was_asked_for_or_not() -> None:
    among = torch.arange(1000) % 3 == 0
    told = Epoch(number=2, draws=Draws(5, 2))
    alone = told.order(among)
    whole = told.order(torch.ones(1000, dtype=torch.bool))
    assert alone.tolist() == [i for i in whole.tolist() if i % 3 == 0]
    assert torch.equal(told.order(among), alone)
