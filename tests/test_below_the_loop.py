"""Without a DataLoader: plans are asked for, and scores are given back by sample id."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from contracts.drive import named
from small_runs import differences, every_method
from thresher import Full, InfoBatch, Method, Omission, Pruner, RandomPruning, RePB
from thresher.errors import (
    BatchMismatchError,
    EpochError,
    MissingScoreError,
    ScalarLossError,
    SettingError,
    ThresherWarning,
    UnplannedIdError,
)

METHODS = every_method()
N = 30


def built(method: Method, **settings: Any) -> Pruner:
    return Pruner(method, **{"epochs": 5, "num_samples": N, **settings})


def score(ids: Tensor, epoch: int) -> Tensor:
    return torch.frac((ids + 1) * (epoch + 2) * 0.618034).float()


# -------------------------------------------------------------------------------------- the epochs


def test_the_current_and_the_next_plan_can_be_asked_for_and_no_other() -> None:
    pruner = built(RePB(rho=0.5))
    for wrong in (-1, 2, 7):
        with pytest.raises(EpochError, match=rf"plan\({wrong}\); expected: 0, .* or 1, the next"):
            pruner.plan(wrong)
    first = pruner.plan(0)
    assert pruner.plan(0) is first
    pruner.observe(first.ids, score(first.ids, 0))
    assert pruner.plan(0) is first
    second = pruner.plan(1)
    assert pruner.plan(1) is second
    assert (first.epoch, second.epoch) == (0, 1)
    for wrong in (0, 3):
        with pytest.raises(EpochError, match="expected: 1, in progress, or 2"):
            pruner.plan(wrong)


def test_asking_for_the_next_plan_closes_the_epoch() -> None:
    pruner = built(InfoBatch())
    plan = pruner.plan(0)
    pruner.observe(plan.ids[:20], score(plan.ids[:20], 0))
    assert pruner.epoch == 0
    assert pruner.position == 20
    pruner.plan(1)
    assert pruner.epoch == 1
    assert pruner.position == 0
    with pytest.raises(EpochError):
        pruner.plan(0)
    assert pruner.report().rows[0].trained == 20


def test_a_loop_ends_by_finished() -> None:
    pruner, epochs = built(RandomPruning(prune_ratio=0.5)), []
    while not pruner.finished:
        plan = pruner.plan(pruner.epoch)
        epochs.append(plan.epoch)
        pruner.observe(plan.ids, score(plan.ids, plan.epoch))
    assert epochs == [0, 1, 2, 3, 4]
    assert pruner.epoch == 5


def test_an_epoch_closed_without_a_score_warns() -> None:
    pruner = built(InfoBatch())
    pruner.plan(0)
    with pytest.warns(ThresherWarning, match=r"Epoch 0 is closed without one score.*observe") as w:
        plan = pruner.plan(1)
    assert w[0].filename == __file__
    assert len(plan) == N  # nothing was learnt, so nothing is dropped


def test_a_plan_needs_a_number_of_samples() -> None:
    with pytest.raises(SettingError, match=r"0 samples.*at least one"):
        Pruner(Full(), epochs=3, num_samples=0)
    pruner = Pruner(RePB(rho=1.0), epochs=3, num_samples=1)
    for epoch in range(3):
        assert pruner.plan(epoch).ids.tolist() == [0]
        pruner.observe([0], torch.ones(1))


# ----------------------------------------------------------------------------------- observations


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


# -------------------------------------------------------------------------------- reduce with ids


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_reduce_with_ids_is_the_weighted_mean_and_observes(method: Method) -> None:
    reduced, observed = built(method), built(method)
    for epoch in range(5):
        plan = observed.plan(epoch)
        assert reduced.plan(epoch).ids.tolist() == plan.ids.tolist()
        weights = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))
        # From the middle, backwards: neither in order nor in runs.
        order = plan.ids.roll(len(plan) // 2).flip(0)
        for ids in order.split(4):
            losses = score(ids, epoch).requires_grad_()
            scores = named(method, losses.detach())
            mean = reduced.reduce(losses, ids=ids, scores=scores)
            expected = np.mean([weights[i] * v for i, v in zip(ids.tolist(), losses.tolist())])  # noqa: B905
            assert mean.item() == pytest.approx(expected, rel=1e-5)
            mean.backward()
            assert losses.grad is not None
            wanted = torch.tensor([weights[i] / len(ids) for i in ids.tolist()])
            assert torch.allclose(losses.grad, wanted)
            observed.observe(ids, scores)
    ours, theirs = reduced.state_dict()["clock"], observed.state_dict()["clock"]
    assert not differences(ours["ledger"], theirs["ledger"])
    assert not differences(ours["progress"]["scores"], theirs["progress"]["scores"])
    assert not differences(ours["progress"]["step"], theirs["progress"]["step"])


def test_reduce_with_ids_works_beside_a_loader_that_reads_ahead() -> None:
    pruner = Pruner(InfoBatch(), epochs=4)
    loader: Any = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    for epoch in range(4):
        queue = []
        for ids in loader:
            queue.append((loader.batch_ids, ids))
            if len(queue) == 3:
                names, batch = queue.pop(0)
                pruner.reduce(score(batch, epoch), ids=names)
        for names, batch in queue:
            pruner.reduce(score(batch, epoch), ids=names)
    report = pruner.report()
    assert [row.trained for row in report.rows] == [row.planned for row in report.rows]
    assert len(report.rows) == 4
    assert report.notes == []


def test_a_pruner_without_samples_says_what_to_do() -> None:
    pruner = Pruner(InfoBatch(), epochs=3)
    for act in (
        lambda: pruner.plan(0),
        lambda: pruner.observe([0], torch.ones(1)),
        lambda: pruner.reduce(torch.ones(1), ids=[0]),
        pruner.state_dict,
    ):
        with pytest.raises(Exception, match=r"no data set yet.*num_samples=n"):
            act()
    assert pruner.epoch == 0
    assert not pruner.finished
    assert pruner.report().rows == []


def test_weights_of_a_plan_are_those_that_reduce_uses_with_a_step_exponent() -> None:
    pruner = built(RandomPruning(prune_ratio=0.5), step_exponent=0.5)
    plan = pruner.plan(0)
    assert plan.weights.mean().item() == pytest.approx(math.sqrt(2), rel=1e-6)
    mean = pruner.reduce(torch.ones(len(plan)), ids=plan.ids)
    assert mean.item() == pytest.approx(math.sqrt(2), rel=1e-6)


@pytest.mark.usefixtures("unchanged_global_rng")
def test_no_global_generator_is_touched_below_the_loop() -> None:
    for method in METHODS:
        pruner = built(method, min_per_class=2, labels=torch.arange(N) % 3, always_keep=[4])
        for epoch in range(5):
            plan = pruner.plan(epoch)
            pruner.observe(plan.ids, named(method, score(plan.ids, epoch)))
        pruner.state_dict()
        pruner.report()
