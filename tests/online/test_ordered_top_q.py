"""Ordered top-q chooses what a literal, slow reading of its paper chooses."""

from __future__ import annotations

import math

import torch

from online.found import shown
from thresher.online import Choice, OrderedTopQ


def positions(choice: Choice) -> list[int]:
    return choice.positions.tolist()


def test_ordered_top_q_keeps_the_largest_and_the_broken_first() -> None:
    scores = torch.tensor([1.0, 5.0, 3.0, math.nan, 2.0, math.inf])
    choice = OrderedTopQ().choose(shown(OrderedTopQ(), scores, batch_size=4))
    assert positions(choice) == [1, 2, 3, 5]
    assert choice.weights is not None
    assert choice.weights.tolist() == [1.0] * 4
