"""Which chosen batch a loss belongs to: named, skipped, reduced twice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from loops import Numbers
from online.found import FOUR, short
from online.runs import train, wrapped
from thresher.errors import ReadAheadError, ReducedTwiceError, ThresherWarning, UnplannedIdError
from thresher.online import OnlineMethod, OrderedTopQ
from thresher.stream import Stream

of_four = pytest.mark.parametrize("method", FOUR, ids=short)


def test_a_batch_reduced_twice_is_refused() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    for batch in loader:
        pruner.reduce(batch.float())
        with pytest.raises(ReducedTwiceError, match=r"epoch 0\) was reduced already"):
            pruner.reduce(batch.float())
    assert pruner.report().rows[0].trained == 24


def test_a_batch_trained_through_a_newer_iterator_is_refused() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    older, newer = iter(loader), iter(loader)
    train(pruner, itertools.islice(newer, 2))
    batch = next(older)
    with pytest.raises(ReducedTwiceError, match="was reduced already"):
        pruner.reduce(batch.float())
    with pytest.raises(ReducedTwiceError, match="Batch 0 of epoch 0 was reduced already"):
        pruner.reduce(batch.float(), ids=batch)
    train(pruner, itertools.islice(newer, 1))
    with pytest.raises(UnplannedIdError, match="is not trained yet"):
        pruner.reduce(batch.float(), ids=batch)
    assert pruner.report().rows[0].trained == 12


def test_reading_ahead_is_refused_until_the_loop_names_its_batches() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    batches = iter(loader)
    first, second = next(batches), next(batches)
    with pytest.raises(ReadAheadError, match=r"Take ids = loader\.batch_ids"):
        pruner.reduce(first.float())
    for batch in (first, second):
        pruner.reduce(batch.float(), ids=batch)
    assert pruner.position == 8
    train(pruner, batches)
    assert pruner.epoch == 1


@of_four
def test_a_loop_that_reads_one_ahead_and_names_its_batches_trains_them_all(
    method: OnlineMethod,
) -> None:
    pruner, loader, scores = wrapped(method)
    for _ in range(2):
        waiting: list[tuple[Tensor, np.ndarray]] = []
        expected, count = len(loader), 0
        for batch in loader:
            waiting.append((batch, loader.batch_ids))
            if len(waiting) == 2:
                held, ids = waiting.pop(0)
                pruner.reduce(held.float(), ids=ids)
                count += 1
        held, ids = waiting.pop()
        pruner.reduce(held.float(), ids=ids)
        assert count + 1 == expected
    assert pruner.epoch == 2
    assert pruner.report().extra_forwards == len(scores.flat)


def test_named_batches_may_be_reduced_in_any_order() -> None:
    """What counts is how far the candidates have come."""
    pruner, loader, scores = wrapped(OrderedTopQ())
    quiet, quiet_loader, quiet_scores = wrapped(OrderedTopQ())
    batches = iter(loader)
    held = [next(batches) for _ in range(3)]
    for number in (2, 0, 1):
        pruner.reduce(held[number].float(), ids=held[number])
        assert pruner.position == 12
    del batches
    train(quiet, itertools.islice(quiet_loader, 3))
    assert pruner.report().rows[0].trained == quiet.report().rows[0].trained == 12
    del scores.seen[:], quiet_scores.seen[:]
    assert train(pruner, loader) == train(quiet, quiet_loader)
    assert scores.seen == quiet_scores.seen


def test_a_batch_may_be_reduced_in_named_parts() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    batch = next(iter(loader))
    pruner.reduce(batch[2:].float(), ids=batch[2:])
    pruner.reduce(batch[[1, 0]].float(), ids=batch[[1, 0]])
    with pytest.raises(UnplannedIdError):
        pruner.reduce(batch[:1].float(), ids=batch[:1])
    row = pruner.report().rows[0]
    assert row.trained == 4
    assert pruner.position == 4


def test_ids_of_no_batch_in_hand_are_refused() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    batches = iter(loader)
    first, second = next(batches), next(batches)
    mixed = torch.stack([first[0], second[0]])
    for ids in (mixed, [99], [-1]):
        with pytest.raises(UnplannedIdError, match="one batch that was fetched"):
            pruner.reduce(torch.ones(len(ids)), ids=ids)
    assert pruner.position == 0


@pytest.mark.parametrize("skipped", [{2, 3}, {4, 5}, {1, 5}])
def test_skipped_batches_are_counted_and_the_run_goes_on_behind_them(skipped: set[int]) -> None:
    pruner, loader, scores = wrapped(OrderedTopQ())
    kept = (batch for number, batch in enumerate(loader) if number not in skipped)
    with pytest.warns(ThresherWarning, match=r"epoch 0 .* never reduced: \d,"):
        train(pruner, kept)
    row = pruner.report().rows[0]
    assert row.skipped_batches == 2
    assert (row.trained, row.planned) == (16, 24)
    # An epoch ends behind its last trained batch; what was looked at after it is forgotten.
    last = max({0, 1, 2, 3, 4, 5} - skipped)
    assert row.extra_forwards == 8 * (last + 1) <= len(scores.flat)
    assert pruner.epoch == (last == 5)


def test_a_whole_pass_without_a_reduce_moves_nothing_and_is_warned_of() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    with pytest.warns(ThresherWarning, match="none of its 6 batches was reduced"):
        looked = [batch.tolist() for batch in loader]
    assert pruner.epoch == 0
    assert train(pruner, loader) == looked


def test_a_broken_loss_is_counted() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    for batch in loader:
        losses = batch.float()
        losses[0] = math.nan
        assert pruner.reduce(losses).isnan()
    assert pruner.report().rows[0].non_finite == 6


def test_an_error_in_the_data_set_passes_over_its_candidates() -> None:
    """As with a plain loader, a loop may catch it and go on."""
    order = Stream(50, 0, shuffled=True).order(0).tolist()
    broken = Numbers(50, broken={order[9]})
    pruner, loader, scores = wrapped(OrderedTopQ(), dataset=broken)
    batches, errors, trained = iter(loader), 0, []
    while True:
        try:
            batch = next(batches)
        except OSError:
            errors += 1
            continue
        except StopIteration:
            break
        pruner.reduce(batch.float())
        trained.append(batch.tolist())
        if len(trained) == 4:
            break
    assert errors == 1
    assert scores.seen[:2] == [order[:8], order[16:24]]


@of_four
@pytest.mark.parametrize("num_workers", [0, 1])
def test_after_candidates_that_could_not_be_read_a_batch_still_has_its_own_ids(
    method: OnlineMethod, num_workers: int
) -> None:
    """An error may come while a batch is half full of samples that wait for others."""
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    pruner, loader, _ = wrapped(method, dataset=Numbers(50, broken=range(3, 50, 7)), **options)
    failures = 0
    for epoch in range(4):
        batches, count = iter(loader), 0
        for _ in range(1000):
            try:
                batch = next(batches)
            except OSError:
                failures += 1
                continue
            except StopIteration:
                break
            assert loader.batch_ids.tolist() == batch.tolist()
            assert len(set(batch.tolist())) == len(batch)
            pruner.reduce(batch.float())
            count += 1
        assert count == len(loader)
        assert pruner.epoch == epoch + 1
    assert failures > 4
