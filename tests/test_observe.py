"""Without a DataLoader: scores are given back by sample id."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from below_the_loop import N, built, score
from contracts.drive import named
from small_runs import differences, every_method
from thresher import InfoBatch, Method, Omission, RandomPruning, RePB
from thresher.errors import (
    BatchMismatchError,
    MissingScoreError,
    ScalarLossError,
    SettingError,
    UnplannedIdError,
)

METHODS = every_method()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_ids_may_be_given_in_any_container(method: Method) -> None:
    plans = []
    for kind in (lambda t: t, lambda t: t.numpy(), lambda t: t.tolist(), lambda t: t.int()):
        pruner = built(method)
        for ids in pruner.plan(0).ids.split(7):
            pruner.observe(kind(ids), named(method, score(ids, 0)))
        plans.append(pruner.plan(1).ids.tolist())
    assert plans[0] == plans[1] == plans[2] == plans[3]


@given(seed=st.integers(0, 999))
@examples(max_examples=25)
def test_observations_in_any_order_and_pieces_give_the_same_next_plan(seed: int) -> None:
    rng = random.Random(seed)
    for method in (InfoBatch(), RePB(rho=0.7, window=None), RePB(rho=0.7, rescale=False)):
        ordered, shuffled = built(method), built(method)
        for epoch in range(3):
            plan = ordered.plan(epoch)
            ids = plan.ids.tolist()
            assert shuffled.plan(epoch).ids.tolist() == ids
            ordered.observe(ids, score(plan.ids, epoch))
            # One optimizer step each: a window of RePB is then the epoch in both.
            rng.shuffle(ids)
            order = torch.tensor(ids)
            if method.needs and getattr(method, "window", None) == 1:
                shuffled.observe(order, score(order, epoch))
            else:
                for part in order.split(rng.randint(1, 9)):
                    shuffled.observe(part, score(part, epoch))
        assert not differences(
            shuffled.state_dict()["clock"]["ledger"], ordered.state_dict()["clock"]["ledger"]
        )


def test_of_a_repeated_id_the_last_score_wins() -> None:
    pruner = built(InfoBatch())
    ids = pruner.plan(0).ids
    pruner.observe(ids, torch.ones(N))
    pruner.observe(ids[:10], torch.full((10,), 2.0))  # a slice of the plan again
    pruner.observe(ids[[3, 12, 3]], torch.tensor([5.0, 6.0, 7.0]))  # twice in one call
    scores = pruner.state_dict()["clock"]["progress"]["scores"]["loss"][ids]
    expected = torch.ones(N)
    expected[:10] = 2
    expected[3], expected[12] = 7, 6
    assert torch.equal(scores, expected)


@given(
    calls=st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, 12), st.booleans()), max_size=12)
)
@examples(max_examples=100)
def test_the_position_counts_each_scored_sample_once(calls: list[tuple[int, int, bool]]) -> None:
    pruner = built(InfoBatch())
    ids, seen = pruner.plan(0).ids, set()
    for start, length, is_scattered in calls:
        part = ids[start : start + length]
        if is_scattered:
            part = part.flip(0)
        pruner.observe(part, torch.ones(len(part)))
        seen |= set(part.tolist())
        # Once all are seen, the epoch to train is the next one.
        assert (pruner.epoch, pruner.position) == divmod(len(seen), N)
        assert sum(row.trained for row in pruner.report().rows) == len(seen)


def test_a_sample_that_is_not_planned_is_refused_and_nothing_is_written() -> None:
    pruner = built(RandomPruning(prune_ratio=0.5))
    plan = pruner.plan(0)
    stranger = min(set(range(N)) - set(plan.ids.tolist()))
    for wrong in ([stranger], [int(plan.ids[0]), stranger], [N], [-1]):
        with pytest.raises(UnplannedIdError, match=r"only samples of its plan \(15 of 30\)"):
            pruner.observe(wrong, torch.ones(len(wrong)))
    assert pruner.position == 0


def test_scores_have_to_fit_the_ids_and_the_method() -> None:
    pruner = built(Omission())
    ids = pruner.plan(0).ids[:3]
    with pytest.raises(BatchMismatchError, match=r"2 losses .* 3 samples"):
        pruner.observe(ids, torch.ones(2))
    with pytest.raises(MissingScoreError, match="did not get logit_grad_norm"):
        pruner.observe(ids, {"loss": torch.ones(3)})
    with pytest.raises(ScalarLossError, match=r"\(3, 1\)"):
        pruner.observe(ids, torch.ones(3, 1))
    with pytest.raises(ScalarLossError):
        pruner.observe(ids, {})
    with pytest.raises(SettingError, match=r"float.*whole numbers"):
        pruner.observe([0.5, 1.0, 2.0], torch.ones(3))  # type: ignore[list-item]
    with pytest.raises(SettingError, match=r"shape \(3, 1\)"):
        pruner.observe(ids[:, None], torch.ones(3))
    assert pruner.position == 0
    pruner.observe(ids, {"logit_grad_norm": torch.ones(3), "extra": torch.ones(9)})
    pruner.observe(pruner.plan(0).ids[3:5], torch.ones(2))
    assert pruner.position == 5


def test_an_empty_call_changes_nothing_but_counts_a_micro_batch() -> None:
    pruner = built(InfoBatch())
    pruner.observe([], torch.empty(0))
    assert pruner.position == 0
    assert pruner.report().trained == 0


def test_scores_are_copied_and_need_no_graph() -> None:
    pruner = built(InfoBatch())
    ids = pruner.plan(0).ids
    scores = torch.ones(N, requires_grad=True)
    pruner.observe(ids, scores)
    with torch.no_grad():
        scores.fill_(9)
    saved = pruner.state_dict()["clock"]["progress"]["scores"]["loss"]
    assert (saved == 1).all()
    assert not saved.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_are_kept_as_float32(dtype: torch.dtype) -> None:
    pruner = built(InfoBatch())
    ids = pruner.plan(0).ids
    pruner.observe(ids, torch.full((N,), 0.1, dtype=dtype))
    saved = pruner.state_dict()["clock"]["progress"]["scores"]["loss"]
    assert saved.dtype == torch.float32
    assert (saved == torch.tensor(0.1, dtype=dtype).float()).all()


def test_each_call_is_one_micro_batch_of_a_window() -> None:
    # Windows of one step: the low one of each pair is below its own mean, whatever the others are.
    pruner = built(RePB(rho=1.0), accumulation_steps=2)
    ids = pruner.plan(0).ids
    scores = torch.arange(N, dtype=torch.float32)
    for part, values in zip(ids.split(1), scores.split(1), strict=True):
        pruner.observe(part, values)
    assert sorted(pruner.plan(1).ids.tolist()) == sorted(ids[1::2].tolist())
