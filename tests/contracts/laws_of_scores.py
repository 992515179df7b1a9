"""The laws of what a method takes for a score, one function each, as in `laws.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from contracts.drive import ByHand, losses, named, steps
from contracts.validity import SIZE, require_equal_ledgers, require_valid
from thresher.methods import Method


def observing_changes_neither_plan_nor_scores(method: Method) -> None:
    hand = ByHand(method, losses(SIZE))
    for number in range(4):
        plan = hand.plan()
        scores = hand.table[number][plan.ids]
        before, kept = plan.checksum(), scores.clone()
        hand.observe(plan, scores, steps(len(plan)))
        assert plan.checksum() == before
        assert torch.equal(scores, kept)


def broken(value: float, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Scores of an epoch of which every third is `value`, and which those are."""
    scores = losses(size)[0]
    is_broken = torch.arange(size) % 3 == 1
    return torch.where(is_broken, value, scores), is_broken


def a_broken_score_is_no_score(method: Method) -> None:
    """In the first epoch NaN and infinities leave the ledger as if the sample was not scored."""
    if not method.needs:
        return
    for value in (math.nan, math.inf, -math.inf):
        hand, unscored = ByHand(method, losses(SIZE)), ByHand(method, losses(SIZE))
        plan = hand.plan()
        scores, is_broken = (each[plan.ids] for each in broken(value))
        hand.observe(plan, scores, steps(len(plan)))
        unscored.observe(plan, scores, steps(len(plan)).where(~is_broken, -1))
        require_equal_ledgers(hand.ledger, unscored.ledger)


def broken_scores_leave_valid_plans(method: Method) -> None:
    """Also where nothing else comes, and where nothing comes at all."""
    for value in (math.nan, math.inf, -math.inf):
        hand = ByHand(method, losses(SIZE))
        for number in range(6):
            plan = hand.plan()
            require_valid(plan, SIZE)
            scores = broken(value)[0][plan.ids] if number < 3 else torch.full((len(plan),), value)
            never = number in (2, 5)
            hand.observe(plan, scores, steps(len(plan)) * 0 - 1 if never else steps(len(plan)))
            for name, column in hand.ledger.columns.items():
                assert not bool(column.isinf().any()), name


def extra_forwards_are_of_who_was_not_trained(method: Method) -> None:
    """Each asked for once; asking changes nothing, and what comes back broken is no score."""
    for value in (1e-3, math.nan, math.inf, -math.inf):
        hand = ByHand(method, losses(SIZE))
        for _ in range(4):
            plan = hand.train()
            before = hand.ledger.copy()
            ids = method.refreshed(hand.ledger, plan)
            require_equal_ledgers(before, hand.ledger)
            if ids is None:
                continue
            assert ids.dtype == torch.int64
            chosen = ids.tolist()
            assert 0 < len(chosen) == len(set(chosen))
            assert not set(chosen) & set(plan.ids.tolist())
            scores = named(method, torch.full((len(ids),), value))
            method.observe_refreshed(hand.ledger, ids, scores)
            require_valid(hand.plan(), SIZE)
            for name, column in hand.ledger.columns.items():
                assert not bool(column.isinf().any()), name
