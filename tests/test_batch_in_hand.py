"""Which batch a loss belongs to: the one in hand, or an error, and never the wrong one."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
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
from thresher.errors import (
    BatchMismatchError,
    NotIteratedError,
    ReadAheadError,
    ReducedTwiceError,
    ThresherWarning,
    UnplannedIdError,
)

CURE = r"Take ids = loader\.batch_ids right after each fetch.*pruner\.reduce\(losses, ids=ids\)"


def read_ahead(batches: Iterable[Any], num_ahead: int) -> Iterator[Any]:
    """Fetch some batches before the first is handed on, as prefetchers to a device do."""
    waiting: list[Any] = []
    for batch in batches:
        waiting.append(batch)
        if len(waiting) > num_ahead:
            yield waiting.pop(0)
    yield from waiting


def in_a_thread(batches: Iterable[Any], num_ahead: int) -> Iterator[Any]:
    """Fetch in another thread, with a queue between."""
    waiting: queue.Queue[Any] = queue.Queue(num_ahead)

    stopped = threading.Event()

    def fetch() -> None:
        for batch in batches:
            if stopped.is_set():
                return
            waiting.put(batch)
        waiting.put(None)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield from iter(waiting.get, None)
    finally:
        stopped.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                waiting.get(timeout=0.01)


def named(loader: Any) -> Generator[tuple[Tensor, np.ndarray]]:
    for batch in loader:
        yield batch, loader.batch_ids


AHEAD: dict[str, Callable[[Iterable[Any]], Iterable[Any]]] = {
    "one ahead": lambda batches: read_ahead(batches, 1),
    "three ahead": lambda batches: read_ahead(batches, 3),
    "all first": list,
    "a thread": lambda batches: in_a_thread(batches, 2),
    "a thread and a long queue": lambda batches: in_a_thread(batches, 99),
}


@pytest.mark.parametrize("name", ["one ahead", "three ahead", "all first", "a thread"])
def test_a_loop_that_reads_ahead_is_told_the_cure_at_its_first_loss(name: str) -> None:
    pruner, loader = wrapped(23, 4)
    refusals = (ReadAheadError, NotIteratedError)
    cure = rf"{CURE}|give the ids: pruner\.reduce\(losses, ids=ids\)"
    with warnings.catch_warnings():
        # A whole pass before the first loss is warned of too.
        warnings.simplefilter("ignore", ThresherWarning)
        with pytest.raises(refusals, match=cure):
            train(pruner, AHEAD[name](loader), 0)
    assert pruner.position == 0


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("name", list(AHEAD))
def test_ids_make_a_loop_that_reads_ahead_right(name: str, num_workers: int) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    quiet, quiet_loader = wrapped(23, 4)
    for epoch in range(4):
        trained = []
        for batch, ids in AHEAD[name](named(loader)):
            assert ids.tolist() == batch.tolist()
            trained.append(batch.tolist())
            pruner.reduce(loss_of(batch, epoch), ids=ids)
        assert trained == train(quiet, quiet_loader, epoch)
        assert losses_by_id(pruner) == losses_by_id(quiet)
        assert pruner.epoch == epoch + 1
        assert len(loader) == len(quiet_loader)
    assert not any(row.skipped_batches for row in pruner.report().rows)


@pytest.mark.parametrize(("batch_size", "num_ahead"), [(4, 0), (4, 1), (1, 0), (1, 1)])
def test_ids_find_their_epoch_while_a_peek_is_kept(batch_size: int, num_ahead: int) -> None:
    pruner, loader = wrapped(17, batch_size)
    quiet, quiet_loader = wrapped(17, batch_size)
    peeks = []
    for epoch in range(3):
        for batch, ids in read_ahead(named(loader), num_ahead):
            peeks.append(iter(loader))
            next(peeks[-1])
            pruner.reduce(loss_of(batch, epoch), ids=ids)
        train(quiet, quiet_loader, epoch)
        assert losses_by_id(pruner) == losses_by_id(quiet)


@pytest.mark.parametrize(("num_ahead", "is_kept"), [(0, False), (1, False), (0, True)])
def test_ids_of_a_new_epoch_are_not_taken_for_the_rest_of_a_broken_one(
    num_ahead: int, is_kept: bool
) -> None:
    """With one sample a batch, half of the new epoch's first batches are of samples still due."""
    for num_broken in range(1, 8):
        pruner, loader = wrapped(8, 1)
        batches = named(loader)
        for batch, ids in itertools.islice(read_ahead(batches, num_ahead), num_broken):
            pruner.reduce(loss_of(batch, 0), ids=ids)
        if not is_kept:
            batches.close()
        for k, (batch, ids) in enumerate(read_ahead(named(loader), num_ahead)):
            pruner.reduce(loss_of(batch, 1), ids=ids)
            assert pruner._clock.epoch == 1  # type: ignore[union-attr]
            assert len(losses_by_id(pruner)) == k + 1


def test_a_loop_may_name_some_of_its_batches() -> None:
    pruner, loader = wrapped(23, 4)
    batches = iter(loader)
    first, second = next(batches), next(batches)
    for batch in (first, second):
        pruner.reduce(loss_of(batch, 0), ids=batch)
    with pytest.raises(ReducedTwiceError, match="was reduced already"):
        pruner.reduce(loss_of(second, 7))
    train(pruner, batches, 0)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in range(23)}


def test_accumulating_all_micro_batches_first_is_told_the_cure() -> None:
    pruner, loader = wrapped(23, 4)
    batches = iter(loader)
    losses = [loss_of(next(batches), 0) for _ in range(3)]
    message = rf"3 batches were fetched before the first loss was reduced; .*{CURE}"
    with pytest.raises(ReadAheadError, match=message):
        pruner.reduce(losses[0])


def test_a_batch_reduced_twice_is_refused() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    for k in range(4):
        batch = next(batches)
        pruner.reduce(loss_of(batch, 0))
        with pytest.raises(ReducedTwiceError, match=rf"epoch 0\) was reduced already; .*{CURE}"):
            pruner.reduce(loss_of(batch, 7))
        assert len(losses_by_id(pruner)) == 3 * (k + 1)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in range(12)}


def test_a_batch_seen_again_through_an_older_iterator_is_refused() -> None:
    pruner, loader = wrapped()
    older = iter(loader)
    train(pruner, itertools.islice(loader, 2), 0)
    batch = next(older)
    with pytest.raises(ReducedTwiceError, match="was reduced already"):
        pruner.reduce(loss_of(batch, 7))


def test_a_reduce_without_a_loop_is_refused() -> None:
    pruner, loader = wrapped()
    give_ids = r"Iterate that loader, or give the ids: pruner\.reduce\(losses, ids=ids\)"
    for _ in range(2):
        with pytest.raises(NotIteratedError, match=rf"no batch in hand; .*{give_ids}"):
            pruner.reduce(torch.ones(3))
        batch = next(iter(loader))
        with pytest.raises(AttributeError, match="no batch has been fetched"):
            _ = loader.batch_ids
    assert pruner.position == 0
    train(pruner, loader, 0)
    with pytest.raises(NotIteratedError, match="no batch in hand"):
        pruner.reduce(loss_of(batch, 1))


def test_iterating_the_plain_loader_is_refused() -> None:
    pruner = Pruner(InfoBatch(), epochs=8)
    plain = DataLoader(Numbers(12), 3, shuffle=True)
    pruner.wrap(plain)
    with pytest.raises(NotIteratedError, match=r"a loop over the loader that pruner\.wrap ret"):
        train(pruner, plain, 0)


@pytest.mark.parametrize("num_losses", [0, 1, 2, 4])
def test_losses_of_another_length_than_the_batch_are_refused(num_losses: int) -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    batch = next(batches)
    message = rf"{num_losses} losses came for a batch of 3 samples; .*give the ids of those that"
    with pytest.raises(BatchMismatchError, match=message):
        pruner.reduce(torch.ones(num_losses))
    with pytest.raises(BatchMismatchError, match=message):
        pruner.reduce(torch.ones(num_losses), ids=batch)
    with pytest.raises(BatchMismatchError, match=message):
        pruner.observe(batch, torch.ones(num_losses))
    pruner.reduce(loss_of(batch, 0), ids=batch)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in batch.tolist()}


def without_odd_ones(samples: list[Tensor]) -> Tensor:
    return torch.tensor([int(sample) for sample in samples if sample % 2 == 0], dtype=torch.int64)


def test_a_collate_function_that_drops_samples_is_refused_until_ids_are_given() -> None:
    pruner, loader = wrapped(24, 8, collate_fn=without_odd_ones)
    with pytest.raises(BatchMismatchError, match=r"collate function .* drops .* give the ids"):
        train(pruner, loader, 0)
    for batch in loader:
        pruner.reduce(loss_of(batch, 0), ids=batch)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in range(0, 24, 2)}


def test_ids_outside_the_plan_are_refused() -> None:
    pruner, loader = wrapped()
    batches = iter(loader)
    next(batches)
    for ids in ([99, 0, 1], [-1, 0, 1], [0, 1, 2**40]):
        with pytest.raises(UnplannedIdError, match=rf"of samples \[{max(ids, key=abs)}\]; .*plan"):
            pruner.reduce(torch.ones(3), ids=ids)
    assert pruner.position == 0


def test_of_a_repeated_id_the_last_score_wins_and_it_counts_once() -> None:
    pruner, loader = wrapped(method=Everything())
    batch = next(iter(loader))
    pruner.reduce(torch.ones(3), ids=batch)
    pruner.reduce(loss_of(batch, 0), ids=batch)
    pruner.observe(batch[[0, 0, 1]], torch.tensor([5.0, 6.0, 7.0]))
    assert pruner.position == 3
    assert losses_by_id(pruner) == {int(batch[0]): 6, int(batch[1]): 7, int(batch[2]): batch[2] + 1}


def test_batch_ids_are_those_of_the_batch_fetched_last() -> None:
    pruner, loader = wrapped(23, 4, num_workers=1)
    for epoch in range(2):
        for batch in loader:
            assert loader.batch_ids.dtype == np.int64
            assert loader.batch_ids.tolist() == batch.tolist()
            next(iter(loader))
            assert loader.batch_ids.tolist() == batch.tolist()
            pruner.reduce(loss_of(batch, epoch))
    pruner.plan(2)
    assert -1 not in ledger_losses(pruner)
    assert flat([loader.batch_ids.tolist() for _ in loader]) == pruner.plan(2).ids.tolist()
