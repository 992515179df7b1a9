"""A batch that was never reduced is counted and warned of; a look at the data is not."""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from loops import Everything, Numbers, flat, ledger_losses, loss_of, losses_by_id, train, wrapped
from thresher import Pruner
from thresher.errors import ReadAheadError, ThresherWarning


def train_but(pruner: Pruner, loader: Any, epoch: int, skipped: set[int]) -> list[list[int]]:
    """Train an epoch except some of its batches; return what was trained."""
    trained = []
    for k, batch in enumerate(loader):
        if k not in skipped:
            pruner.reduce(loss_of(batch, epoch))
            trained.append(batch.tolist())
    return trained


def looked_at(loader: Any) -> list[list[int]]:
    batches = []
    for batch in loader:  # in a comprehension the line could be that of either frame
        batches += [batch.tolist()]
    return batches


def assert_points_into(loop: Callable[..., Any], warning: warnings.WarningMessage) -> None:
    """A warning names the line of the user's loop."""
    lines, first = inspect.getsourcelines(loop)
    assert warning.filename == __file__
    assert first <= warning.lineno < first + len(lines)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("skipped", [{1}, {2, 3}, {1, 4}, {5}, {4, 5}, {1, 3, 5}])
def test_skipped_batches_are_counted_warned_of_once_and_stay_unscored(
    skipped: set[int], num_workers: int
) -> None:
    pruner, loader = wrapped(23, 4, method=Everything(), num_workers=num_workers)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for epoch in range(3):
            trained = train_but(pruner, loader, epoch, skipped)
            assert losses_by_id(pruner) == {id_: 1000 * epoch + id_ + 1 for id_ in flat(trained)}
            assert len(flat(trained)) < 23
            assert pruner.epoch == epoch, "the epoch is not done before the next begins"
    (warning,) = said
    assert warning.category is ThresherWarning
    message = (
        r"of epoch 0 .* fetched but never reduced: \d, .*expected: pruner.reduce for each batch"
    )
    assert re.search(message, str(warning.message))
    assert_points_into(train_but, warning)
    assert [row.skipped_batches for row in pruner.report().rows] == [len(skipped)] * 3
    assert [row.trained for row in pruner.report().rows] == [len(flat(trained))] * 3


def test_the_first_batch_cannot_be_skipped_unnamed_before_any_was_reduced() -> None:
    pruner, loader = wrapped(23, 4)
    with pytest.raises(ReadAheadError, match=r"reads ahead or skipped a batch cannot be told"):
        train_but(pruner, loader, 0, {0})
    for batch in itertools.islice(loader, 1, None):
        pruner.reduce(loss_of(batch, 0), ids=loader.batch_ids)
    assert set(losses_by_id(pruner)) == set(pruner.plan(0).ids[4:].tolist())


def test_the_first_batch_of_a_later_epoch_may_be_skipped() -> None:
    pruner, loader = wrapped(23, 4)
    train(pruner, loader, 0)
    with pytest.warns(ThresherWarning, match=r"epoch 1 .* never reduced: 1,"):
        trained = train_but(pruner, loader, 1, {0})
    assert flat(trained) == pruner.plan(1).ids[4:].tolist()
    assert losses_by_id(pruner) == {id_: 1000 + id_ + 1 for id_ in flat(trained)}


def test_a_ragged_last_batch_that_the_loop_leaves_out_is_counted() -> None:
    pruner, loader = wrapped(23, 4, method=Everything())
    with pytest.warns(ThresherWarning, match=r"epoch 0 .* never reduced: 1,"):
        train(pruner, (batch for batch in loader if len(batch) == 4), 0)
    assert [row.skipped_batches for row in pruner.report().rows] == [1]
    train(pruner, loader, 1)
    assert [row.skipped_batches for row in pruner.report().rows] == [1, 0]
    pruner.plan(2)
    assert -1 not in ledger_losses(pruner)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_whole_pass_without_a_reduce_moves_nothing_and_is_warned_of_once(
    num_workers: int,
) -> None:
    pruner, loader = wrapped(23, 4, num_workers=num_workers)
    for epoch in range(3):
        passes = []
        for _ in range(2):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                passes.append(looked_at(loader))
            assert len(said) == (not epoch and len(passes) == 1)
            for warning in said:
                assert warning.category is ThresherWarning
                assert_points_into(looked_at, warning)
                text = str(warning.message)
                assert "plan of epoch 0 ended and none of its 6 batches was reduced" in text
                assert "expected: loss = pruner.reduce(losses) for every batch" in text
                assert "iterate the loader that was given to pruner.wrap" in text
        assert pruner.epoch == epoch
        assert passes == [train(pruner, loader, epoch)] * 2
    assert [row.skipped_batches for row in pruner.report().rows] == [0] * 3


def evaluate(loader: Any) -> Tensor:
    return torch.cat([batch.float() for batch in loader]).mean()


def test_an_evaluation_over_the_wrapped_loader_leaves_the_epoch_alone() -> None:
    pruner, loader = wrapped(23, 4)
    quiet, quiet_loader = wrapped(23, 4)
    for epoch in range(3):
        for k, batch in enumerate(loader):
            pruner.reduce(loss_of(batch, epoch))
            if k == 1:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore" if not epoch else "error", ThresherWarning)
                    evaluate(loader)
        train(quiet, quiet_loader, epoch)
        assert losses_by_id(pruner) == losses_by_id(quiet)


def test_looks_that_end_early_or_name_their_batches_are_not_warned_of() -> None:
    pruner, loader = wrapped(23, 4)
    next(iter(loader))
    list(itertools.islice(loader, 5))
    for _ in loader:
        break
    assert flat([loader.batch_ids.tolist() for _ in loader]) == pruner.plan(0).ids.tolist()
    list(loader.sampler), list(loader.batch_sampler)
    train(pruner, itertools.islice(loader, 2), 0)
    assert pruner.report().rows[0].skipped_batches == 0


def test_batches_that_another_iterator_trained_are_not_skipped() -> None:
    pruner, loader = wrapped(23, 4)
    dataiter = iter(loader)
    train(pruner, loader, 0)
    assert sum(1 for _ in dataiter) == 6
    train(pruner, loader, 1)
    assert [row.skipped_batches for row in pruner.report().rows] == [0, 0]


def test_the_only_batch_of_an_epoch_may_be_reduced_after_its_end() -> None:
    """As a loop does that always fetches one ahead, to know which batch is the last."""
    pruner, loader = wrapped(12, 99)
    for epoch in range(3):
        batches = iter(loader)
        batch = next(batches)
        assert next(batches, None) is None
        pruner.reduce(loss_of(batch, epoch))
        assert losses_by_id(pruner) == {id_: 1000 * epoch + id_ + 1 for id_ in batch.tolist()}
    assert pruner.epoch == 3


def test_a_skip_after_the_next_plan_was_looked_at_is_counted_too() -> None:
    log: list[float] = []
    pruner = Pruner(Everything(), epochs=8, log=lambda row, _: log.append(row["skipped_batches"]))
    loader = pruner.wrap(DataLoader(Numbers(12), 3, shuffle=True))
    batches = iter(loader)
    train(pruner, itertools.islice(batches, 3), 0)
    next(batches)
    next(iter(loader))
    with pytest.warns(ThresherWarning, match=r"epoch 0 .* never reduced: 1,"):
        next(batches, None)
    assert next(batches, None) is None, "the end may be asked for again"
    train(pruner, loader, 1)
    assert [row.skipped_batches for row in pruner.report().rows] == [1, 0]
    assert log == [1]


def test_an_empty_pass_is_not_warned_of() -> None:
    pruner = Pruner(Everything(), steps=2)
    loader: Any = pruner.wrap(DataLoader(Numbers(12), 3, shuffle=True))
    train(pruner, loader, 0)
    assert pruner.finished
    assert len(loader) == 0
    assert list(loader) == []


def test_the_same_plan_is_still_there_after_looking_at_all_of_it() -> None:
    pruner, loader = wrapped(23, 4)
    train(pruner, loader, 0)
    with pytest.warns(ThresherWarning, match="A whole pass over the plan of epoch 1"):
        looked = [batch.tolist() for batch in loader]
    assert pruner._clock.epoch == 0  # type: ignore[union-attr]
    assert train(pruner, loader, 1) == looked
