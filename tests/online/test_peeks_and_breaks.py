"""Looking ahead, breaking off, workers and copies do not change what an online run trains."""

from __future__ import annotations

import copy
import gc
import itertools
import weakref
from typing import Any

import pytest

from online.found import FOUR, short
from online.runs import train, wrapped
from thresher.online import OnlineMethod, OrderedTopQ, SelectiveBackprop

of_four = pytest.mark.parametrize("method", FOUR, ids=short)
WORKERS = pytest.mark.parametrize("num_workers", [0, 1])


@of_four
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_peek_moves_nothing(method: OnlineMethod, is_kept: bool) -> None:
    pruner, loader, scores = wrapped(method)
    quiet, quiet_loader, quiet_scores = wrapped(method)
    kept = []
    for epoch in range(3):
        peek = iter(loader)
        first = [next(peek).tolist() for _ in range(2)]
        kept += [peek] if is_kept else []
        del peek
        trained = train(pruner, loader, scores)
        assert trained[0] == first[0]
        assert trained == train(quiet, quiet_loader, quiet_scores)
        assert pruner.epoch == epoch + 1
    ours, theirs = pruner.report().rows, quiet.report().rows
    assert [row.extra_forwards for row in ours] == [row.extra_forwards for row in theirs]
    assert len(scores.flat) > len(quiet_scores.flat)


def test_a_peek_in_the_middle_of_an_epoch_shows_the_next_one() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ())
    quiet, quiet_loader, quiet_scores = wrapped(OrderedTopQ())
    trained = []
    for batch in loader:
        pruner.reduce(batch.float())
        scores.time += 1
        trained.append(batch.tolist())
        next(iter(loader))
    assert trained == train(quiet, quiet_loader, quiet_scores)
    assert pruner.epoch == 1


@of_four
def test_after_an_early_break_candidates_go_on_after_the_last_trained_batch(
    method: OnlineMethod,
) -> None:
    """As if nothing had been fetched beyond: an epoch of the broken run begins where it ended."""
    pruner, loader, scores = wrapped(method, 200, epochs=9)
    whole, whole_loader, whole_scores = wrapped(method, 200, epochs=9)
    first = train(pruner, itertools.islice(loader, 3), scores)
    straight = itertools.islice(iter(whole_loader), 5)
    expected = train(whole, straight, whole_scores)
    second = train(pruner, itertools.islice(loader, 2), scores)
    assert pruner.epoch == 1
    assert first + second == expected
    assert [row.trained for row in pruner.report().rows] == [
        sum(map(len, first)),
        sum(map(len, second)),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_workers": 1},
        {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 3},
        {"num_workers": 2, "in_order": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", [FOUR[0], FOUR[2]], ids=short)
def test_workers_fetch_the_same_batches(method: OnlineMethod, settings: dict[str, Any]) -> None:
    here, there = wrapped(method), wrapped(method, **settings)
    for _ in range(2):
        ours, theirs = (train(*each) for each in (here, there))
        assert ours == theirs
    assert here[2].seen == there[2].seen


@WORKERS
def test_a_finished_pass_leaves_no_iterator_behind(num_workers: int) -> None:
    """A cycle would leave the workers to the garbage collector."""
    pruner, loader, scores = wrapped(SelectiveBackprop(), num_workers=num_workers)
    gc.collect()
    gc.disable()
    try:
        batches = iter(loader)
        inner = weakref.ref(batches._batches._fetched)
        train(pruner, batches, scores)
        del batches
        assert inner() is None
    finally:
        gc.enable()


def test_a_deep_copy_of_a_run_goes_its_own_way() -> None:
    pruner, loader, scores = wrapped(SelectiveBackprop())
    train(pruner, loader, scores)
    other, others, their = copy.deepcopy((pruner, loader, scores))
    expected = [train(pruner, loader, scores) for _ in range(2)]
    assert other.epoch == 1
    assert [train(other, others, their) for _ in range(2)] == expected


def test_accumulated_micro_batches_are_steps() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ(), settings={"accumulation_steps": 2})
    train(pruner, loader, scores)
    assert pruner._clock is not None
    assert pruner._clock.steps_done == 3
