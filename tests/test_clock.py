"""The epoch clock, sentence by sentence: only training moves it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from loops import (
    Everything,
    Numbers,
    flat,
    ledger_losses,
    loss_of,
    losses_by_id,
    train,
    wrapped,
)
from thresher import InfoBatch, Pruner
from thresher.errors import EpochError, StaleBatchError, ThresherWarning


def planned_by_hand(epochs: list[list[int]], num_samples: int = 12) -> list[int]:
    """The plan after `epochs`, whose trained samples are given, made without any loader."""
    pruner = Pruner(InfoBatch(), epochs=8, num_samples=num_samples)
    for epoch, ids in enumerate(epochs):
        pruner.plan(epoch)
        pruner.observe(torch.tensor(ids), loss_of(torch.tensor(ids), epoch))
    return pruner.plan(len(epochs)).ids.tolist()


def ids_of(pass_over: Any) -> list[int]:
    return flat(batch.tolist() for batch in pass_over)


LOOKS: dict[str, Callable[[Pruner, Any], Any]] = {
    "iter": lambda _, loader: iter(loader),
    "peek": lambda _, loader: next(iter(loader)),
    "peek at two batches": lambda _, loader: list(itertools.islice(loader, 2)),
    "len": lambda _, loader: len(loader),
    "report": lambda pruner, _: str(pruner.report()),
    "state_dict": lambda pruner, _: pruner.state_dict(),
    "epoch": lambda pruner, _: (pruner.epoch, pruner.position, pruner.finished),
    "plan": lambda pruner, _: pruner.plan(pruner._clock.epoch),  # type: ignore[union-attr]
    "set_epoch": lambda _, loader: loader.sampler.set_epoch(3),
    "the sampler": lambda _, loader: list(loader.sampler),
    "wrap": lambda pruner, loader: pruner.wrap(DataLoader(loader.dataset, 5, shuffle=True)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_only_training_moves_it(look: Callable[[Pruner, Any], Any]) -> None:
    """The clock: only training moves it."""
    pruner, loader = wrapped()
    quiet, quiet_loader = wrapped()
    for epoch in range(3):
        kept = [look(pruner, loader), look(pruner, loader)]
        assert train(pruner, loader, epoch) == train(quiet, quiet_loader, epoch)
        kept += [look(pruner, loader)]
        assert pruner._clock.epoch == epoch  # type: ignore[union-attr]
        assert pruner.epoch == quiet.epoch == epoch + 1
        assert losses_by_id(pruner) == losses_by_id(quiet)


def test_iter_gives_the_plan_of_the_epoch() -> None:
    """`iter(loader)` gives the plan of epoch e; …"""
    pruner, loader = wrapped()
    first, second = iter(loader), iter(loader)
    ids = pruner.plan(0).ids.tolist()
    assert ids_of(next(first) for _ in range(4)) == ids_of(next(second) for _ in range(4)) == ids


@pytest.mark.parametrize("num_reduced", [1, 2, 3, 4])
def test_after_a_first_reduce_iter_gives_a_provisional_plan_of_the_next(num_reduced: int) -> None:
    """… if some of e's batches have already been reduced, it gives a *provisional* plan of e+1
    made from the trace so far."""
    pruner, loader = wrapped()
    trained = train(
        pruner, (batch for batch, _ in zip(loader, range(num_reduced), strict=False)), 0
    )
    peek = iter(loader)
    provisional = ids_of(next(peek) for _ in range(len(peek)))
    assert provisional == planned_by_hand([flat(trained)])
    assert pruner._clock.epoch == 0  # type: ignore[union-attr]
    assert ledger_losses(pruner) == [-1] * 12


def test_an_epoch_closes_when_the_first_batch_of_the_next_is_reduced() -> None:
    """Epoch e closes when the first batch of e+1 is reduced …"""
    log: list[tuple[float, int]] = []
    pruner = Pruner(InfoBatch(), epochs=8, log=lambda row, step: log.append((row["epoch"], step)))
    loader = pruner.wrap(DataLoader(Numbers(12), 3, shuffle=True))
    train(pruner, loader, 0)
    batches = iter(loader)
    batch = next(batches)
    assert (ledger_losses(pruner), log) == ([-1] * 12, [])
    with pytest.raises(EpochError, match=r"plan\(2\); expected: 0, in progress, or 1, the next"):
        pruner.plan(2)
    pruner.reduce(loss_of(batch, 1))
    assert ledger_losses(pruner) == [id_ + 1 for id_ in range(12)]
    assert log == [(0, 4)]
    assert pruner.plan(1).ids[:3].tolist() == batch.tolist()
    with pytest.raises(EpochError, match=r"plan\(0\); expected: 1, in progress, or 2"):
        pruner.plan(0)


def test_below_the_loop_an_epoch_closes_when_the_next_plan_is_asked_for() -> None:
    """… (below the loop: when `plan(e+1)` is asked for)."""
    pruner = Pruner(InfoBatch(), epochs=8, num_samples=12)
    ids = pruner.plan(0).ids
    pruner.observe(ids, loss_of(ids, 0))
    assert pruner.plan(0).ids is ids
    assert ledger_losses(pruner) == [-1] * 12
    assert len(pruner.plan(1)) < 12
    assert ledger_losses(pruner) == [id_ + 1 for id_ in range(12)]


def test_plan_of_the_next_epoch_closes_the_one_of_a_loader_too() -> None:
    pruner, loader = wrapped()
    train(pruner, loader, 0)
    ids = pruner.plan(1).ids.tolist()
    assert pruner.epoch == 1
    assert flat(train(pruner, loader, 1)) == ids
    with pytest.warns(ThresherWarning, match="Epoch 2 is closed without one score"):
        pruner.plan(2), pruner.plan(3)


def test_another_batch_of_the_epoch_drops_the_provisional_plan() -> None:
    """Reducing another batch of e drops the provisional plan, and its batches then raise."""
    pruner, loader = wrapped()
    batches = iter(loader)
    trained = train(pruner, itertools.islice(batches, 2), 0)
    peek = iter(loader)
    next(peek)
    trained += train(pruner, [next(batches)], 0)
    stale = next(peek)
    with pytest.raises(
        StaleBatchError, match=r"a plan of epoch 1 that no longer holds \(epoch 0 is"
    ):
        pruner.reduce(loss_of(stale, 1))
    with pytest.raises(StaleBatchError, match=r"start a new pass with iter\(loader\)"):
        pruner.reduce(loss_of(stale, 1), ids=stale)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in flat(trained)}
    trained += train(pruner, batches, 0)
    assert sorted(flat(trained)) == list(range(12))
    assert flat(train(pruner, loader, 1)) == planned_by_hand([flat(trained)])


def test_a_batch_of_a_closed_epoch_raises() -> None:
    pruner, loader = wrapped()
    old = iter(loader)
    train(pruner, [next(old)], 0)
    train(pruner, loader, 1)
    batch = next(old)
    with pytest.raises(StaleBatchError, match=r"of epoch 0 that no longer holds \(epoch 1 is in"):
        pruner.reduce(loss_of(batch, 0))
    assert pruner.epoch == 2


def test_len_changes_nothing_and_counts_the_epoch_in_progress_then_the_coming_one() -> None:
    """`len(loader)` never changes anything: it is the epoch in progress while any planned batch is
    unreduced, else the coming one."""
    pruner, loader = wrapped(40, 3, method=InfoBatch(r=0.9))
    lengths = []
    for epoch in range(4):
        lengths.append(len(loader))
        for k, batch in enumerate(loader):
            assert len(loader) == lengths[epoch], "a batch is in hand and not reduced"
            pruner.reduce(loss_of(batch, epoch))
            is_done = k + 1 == lengths[epoch]
            assert (len(loader) == lengths[epoch]) or is_done
            assert len(loader.sampler) == (
                len(pruner.plan(epoch)) if not is_done else len(loader.sampler)
            )
        assert pruner._clock.epoch == epoch  # type: ignore[union-attr]
        assert len(loader) == len(iter(loader)) == -(-len(planned_next(pruner)) // 3)
    assert lengths[0] == 14
    assert lengths[1] < 14


def planned_next(pruner: Pruner) -> list[int]:
    return pruner._clock.coming().plan.ids.tolist()  # type: ignore[union-attr]


def test_len_after_an_early_break_is_the_epoch_in_progress_until_the_next_begins() -> None:
    pruner, loader = wrapped(40, 3, method=InfoBatch(r=0.9))
    train(pruner, loader, 0)
    for batch in loader:
        pruner.reduce(loss_of(batch, 1))
        break
    length = len(loader)
    assert length == -(-len(pruner.plan(1)) // 3)
    again = iter(loader)
    assert len(again) != length
    assert len(loader) == length
    pruner.reduce(loss_of(next(again), 2))
    assert len(loader) == len(again)


def test_set_epoch_is_accepted_and_changes_nothing() -> None:
    """`set_epoch` is accepted and changes nothing."""
    pruner, loader = wrapped()
    quiet, quiet_loader = wrapped()
    for epoch in range(3):
        for each in (7, 7, 0, epoch):
            loader.sampler.set_epoch(each)
            loader.batch_sampler.sampler.set_epoch(each)
        assert train(pruner, loader, epoch) == train(quiet, quiet_loader, epoch)


def test_with_persistent_workers_the_older_iterator_raises() -> None:
    """With persistent workers torch itself restarts a running loop on a second `iter`: advancing
    the older iterator then raises."""
    pruner, loader = wrapped(num_workers=1, persistent_workers=True)
    older = iter(loader)
    pruner.reduce(loss_of(next(older), 0))
    newer = iter(loader)
    with pytest.raises(StaleBatchError, match=r"restarted by a newer .*persistent_workers=F"):
        next(older)
    assert ids_of(next(newer) for _ in range(len(newer))) == planned_by_hand(
        [list(losses_by_id(pruner))]
    )
    with pytest.raises(StaleBatchError, match="restarted by a newer one"):
        next(older)


@pytest.mark.parametrize("look", ["report", "state_dict"])
@pytest.mark.parametrize("num_reduced", [1, 4])
def test_report_and_state_dict_never_close_an_epoch(look: str, num_reduced: int) -> None:
    """`report` and `state_dict` never close an epoch."""
    pruner, loader = wrapped()
    train(pruner, itertools.islice(loader, num_reduced), 0)
    coming = iter(loader)
    for _ in range(2):
        getattr(pruner, look)()
        assert pruner._clock.epoch == 0  # type: ignore[union-attr]
        assert ledger_losses(pruner) == [-1] * 12
    assert [row.epoch for row in pruner.report().rows] == [0]
    pruner.reduce(loss_of(next(coming), 1))
    assert [row.trained for row in pruner.report().rows] == [3 * num_reduced, 3]


def test_a_plan_is_made_once_however_often_it_is_asked_for() -> None:
    asked: list[int] = []
    pruner, loader = wrapped(method=Everything(asked=asked))
    for epoch in range(3):
        for _ in range(2):
            [look(pruner, loader) for name, look in LOOKS.items() if name != "wrap"]
        assert asked == list(range(epoch + 1))
        train(pruner, loader, epoch)
        assert asked == list(range(epoch + 1))
