"""Real loops against the clock: peeks, breaks, iterators that live on, resumed epochs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from loops import (
    Numbers,
    assert_trains_its_plans,
    flat,
    ledger_losses,
    loss_of,
    losses_by_id,
    train,
    wrapped,
)
from thresher import InfoBatch, Pruner
from thresher.errors import ReadAheadError, StaleBatchError

WORKERS = pytest.mark.parametrize("num_workers", [0, 1])


@WORKERS
@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("num_peeks", [1, 3])
def test_a_peek_before_each_epoch_shows_its_plan_and_costs_nothing(
    num_peeks: int, is_kept: bool, num_workers: int
) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    kept = []
    for epoch in range(3):
        peek = iter(loader)
        seen = [next(peek).tolist() for _ in range(num_peeks)]
        if is_kept:
            kept.append(peek)
        del peek
        assert train(pruner, loader, epoch)[:num_peeks] == seen
    assert pruner.epoch == 3
    assert [row.trained for row in pruner.report().rows] == [
        row.planned for row in pruner.report().rows
    ]


@WORKERS
@pytest.mark.parametrize("num_peeks", [1, 3])
def test_the_tutorials_dataiter_may_live_as_long_as_the_script(
    num_peeks: int, num_workers: int
) -> None:
    """`dataiter = iter(trainloader); images, labels = next(dataiter)`, then the training loop."""
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    dataiter = iter(loader)
    for _ in range(num_peeks):
        next(dataiter)
    assert_trains_its_plans(pruner, loader, batch_size=4)
    next(dataiter)


def test_the_dataiter_may_show_another_batch_between_epochs() -> None:
    pruner, loader = wrapped(23, 4)
    dataiter = iter(loader)
    for epoch in range(4):
        next(dataiter, None)
        assert flat(train(pruner, loader, epoch)) == pruner.plan(epoch).ids.tolist()
        next(dataiter, None)


@WORKERS
def test_a_kept_peek_does_not_stop_loops_that_break_early(num_workers: int) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    dataiter = iter(loader)
    for _ in range(5):
        next(dataiter)
    for epoch in range(3):
        trained = train(pruner, itertools.islice(loader, 2), epoch)
        assert losses_by_id(pruner) == {id_: 1000 * epoch + id_ + 1 for id_ in flat(trained)}
    assert pruner.epoch == 2


@WORKERS
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_peek_in_the_middle_of_an_epoch_leaves_it_alone(is_kept: bool, num_workers: int) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    quiet, quiet_loader = wrapped(23, 4)
    kept: list[Any] = []
    for epoch in range(3):
        trained = []
        for batch in loader:
            trained.append(batch.tolist())
            pruner.reduce(loss_of(batch, epoch))
            if len(trained) in (1, 3):
                peek = iter(loader)
                next(peek)
                kept = [*kept, peek] if is_kept else []
                del peek
        assert trained == train(quiet, quiet_loader, epoch)
        assert losses_by_id(pruner) == losses_by_id(quiet)
    assert pruner.epoch == 3


@WORKERS
def test_a_peek_while_a_batch_is_in_hand_is_forgotten_once_it_is_dropped(num_workers: int) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    for epoch in range(3):
        trained = []
        for batch in loader:
            next(iter(loader))
            trained += batch.tolist()
            pruner.reduce(loss_of(batch, epoch))
        assert losses_by_id(pruner) == {id_: 1000 * epoch + id_ + 1 for id_ in trained}
        assert trained == pruner.plan(epoch).ids.tolist()


def test_a_peek_that_is_kept_while_a_batch_is_in_hand_is_refused() -> None:
    pruner, loader = wrapped(23, 4)
    batches = iter(loader)
    train(pruner, itertools.islice(batches, 2), 0)
    batch = next(batches)
    peek = iter(loader)
    next(peek)
    with pytest.raises(ReadAheadError, match=r"epochs 0 and 1 are in hand.*Delete the iterator"):
        pruner.reduce(loss_of(batch, 0))
    del peek
    pruner.reduce(loss_of(batch, 0))
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in pruner.plan(0).ids[:12].tolist()}


def test_two_peeks_at_the_start_of_an_epoch_with_a_batch_in_hand_are_refused() -> None:
    pruner, loader = wrapped(23, 4)
    train(pruner, loader, 0)
    batches = iter(loader)
    batch = next(batches)
    peek = iter(loader)
    next(peek)
    next(peek)
    with pytest.raises(ReadAheadError, match=r"epochs 1 and 1 are in hand, from two iterators"):
        pruner.reduce(loss_of(batch, 1))
    pruner.reduce(loss_of(batch, 1), ids=batch)
    assert losses_by_id(pruner) == {id_: 1000 + id_ + 1 for id_ in batch.tolist()}


@WORKERS
def test_an_early_break_leaves_a_correct_ledger(num_workers: int) -> None:
    """The untrained part of the plan counts as unscored."""
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    last = dict.fromkeys(range(23), -1.0)
    by_hand = Pruner(InfoBatch(), epochs=8, num_samples=23)
    for epoch, num_batches in enumerate([2, 3, 1, 99, 2]):
        plan = by_hand.plan(epoch).ids.tolist()
        trained = []
        for batch in loader:
            trained.append(batch.tolist())
            pruner.reduce(loss_of(batch, epoch))
            by_hand.observe(batch, loss_of(batch, epoch))
            if len(trained) == num_batches:
                break
        assert flat(trained) == plan[: 4 * num_batches]
        last |= {id_: 1000 * epoch + id_ + 1 for id_ in flat(trained)}
    pruner.plan(5)
    assert ledger_losses(pruner) == list(last.values())
    assert [row.trained for row in pruner.report().rows[:3]] == [8, 12, 4]
    assert not any(row.skipped_batches for row in pruner.report().rows)


@WORKERS
def test_a_loop_counted_in_steps_restarts_its_iterator(num_workers: int) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    by_hand = Pruner(InfoBatch(), epochs=8, num_samples=23)
    batches, trained = iter(loader), [[]]
    for _ in range(16):
        try:
            batch = next(batches)
        except StopIteration:
            trained.append([])
            batches = iter(loader)
            batch = next(batches)
        pruner.reduce(loss_of(batch, len(trained) - 1))
        trained[-1] += batch.tolist()
    for epoch, ids in enumerate(trained):
        plan = by_hand.plan(epoch).ids
        assert ids == plan.tolist()[: len(ids)]
        by_hand.observe(plan, loss_of(plan, epoch))
    assert len(trained) > 2


@WORKERS
@pytest.mark.parametrize("is_wrapped_first", [False, True])
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("num_reduced", [0, 1, 3])
def test_after_a_mid_epoch_load_loops_go_on_where_they_were(
    num_reduced: int, epoch: int, is_wrapped_first: bool, num_workers: int
) -> None:
    """After a mid-epoch load, `iter` yields what is left, `len` is the whole epoch, and loops start
    at `pruner.epoch`."""
    whole, whole_loader = wrapped(23, 4)
    if epoch:
        train(whole, whole_loader, 0)
    batches = iter(whole_loader)
    train(whole, itertools.islice(batches, num_reduced), epoch)
    state = whole.state_dict()
    length = len(whole_loader)
    left = train(whole, batches, epoch)

    resumed = Pruner(InfoBatch(), epochs=8)
    plain = DataLoader(Numbers(23), 4, shuffle=True, num_workers=num_workers)
    loader: Any = resumed.wrap(plain) if is_wrapped_first else None
    resumed.load_state_dict(state)
    loader = loader or resumed.wrap(plain)
    assert resumed.epoch == epoch
    assert resumed.position == 4 * num_reduced
    assert len(loader) == length
    assert len(iter(loader)) == length - num_reduced
    assert next(iter(loader)).tolist() == left[0], "a peek takes nothing away"
    assert list(loader.sampler) == flat(left)
    assert len(loader.sampler) == len(resumed.plan(epoch))
    for number in range(resumed.epoch, 3):
        if number == epoch:
            assert train(resumed, loader, number) == left
        else:
            assert train(resumed, loader, number) == train(whole, whole_loader, number)
        assert losses_by_id(resumed) == losses_by_id(whole)
        assert len(loader) == len(whole_loader)
    resumed.plan(3), whole.plan(3)
    assert ledger_losses(resumed) == ledger_losses(whole)


def test_a_batch_fetched_before_a_load_is_refused_after_it() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    train(pruner, itertools.islice(batches, 1), 0)
    state = pruner.state_dict()
    batch = next(batches)
    pruner.load_state_dict(state)
    with pytest.raises(StaleBatchError, match=r"of epoch 0 that no longer holds"):
        pruner.reduce(loss_of(batch, 0))
    assert [next(iter(loader)).tolist()] == train(pruner, itertools.islice(loader, 1), 0)


def test_a_resumed_epoch_drops_what_its_last_batch_cannot_fill_only_at_the_end() -> None:
    pruner, loader = wrapped(23, 4, drop_last=True)
    train(pruner, itertools.islice(loader, 2), 0)
    resumed, resumed_loader = wrapped(23, 4, drop_last=True)
    resumed.load_state_dict(pruner.state_dict())
    assert (len(resumed_loader), len(iter(resumed_loader))) == (5, 3)
    assert flat(train(resumed, resumed_loader, 0)) == resumed.plan(0).ids[8:20].tolist()
    assert resumed.epoch == 1
    assert torch.equal(resumed.plan(0).ids, pruner.plan(0).ids)
