"""The user's loop over an online method: counts, candidates, peeks, breaks, workers, mistakes."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from loops import Numbers
from online.found import METHODS, short
from online.runs import Scores, train, wrapped
from thresher import Pruner
from thresher.errors import (
    BatchMismatchError,
    EmptyEpochError,
    MissingScoreError,
    NotIteratedError,
    ReadAheadError,
    ReducedTwiceError,
    SamplerError,
    SettingError,
    ThresherWarning,
    UnplannedIdError,
)
from thresher.online import (
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)
from thresher.stream import Stream

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)
FOUR: list[OnlineMethod] = [
    SelectiveBackprop(),
    ImportanceSampling(tau_th=1.05, decay=0.5),
    ExtraForwardBernoulli(),
    OrderedTopQ(),
]
of_four = pytest.mark.parametrize("method", FOUR, ids=short)
WORKERS = pytest.mark.parametrize("num_workers", [0, 1])


# ----------------------------------------------------------------------------------- what it trains


@of_every_method
@pytest.mark.usefixtures("unchanged_global_rng")
def test_an_epoch_is_exactly_so_many_batches_of_different_samples(method: OnlineMethod) -> None:
    """⌊κn/b⌋, whatever the scores; `len` says it before."""
    generator = torch.Generator().manual_seed(0)  # a loader without one draws from the global one
    pruner, loader, scores = wrapped(method, generator=generator)
    kept = method.kept if method.prune_ratio is None else 1 - method.prune_ratio
    for epoch in range(3):
        expected = len(loader)
        if epoch == 0:
            assert expected == math.floor(kept * 50 / 4 + 1e-9) if kept < 1 else 13
        trained = train(pruner, loader, scores)
        assert len(trained) == expected
        for ids in trained:
            assert len(set(ids)) == len(ids) >= 1
            assert set(ids) <= set(range(50))
            assert not method.waits or len(ids) <= 4
        assert pruner.epoch == epoch + 1
    rows = pruner.report().rows
    assert [row.trained for row in rows] == [row.planned for row in rows]
    assert pruner.report().extra_forwards == len(scores.flat)


@of_four
def test_candidates_are_all_samples_one_order_after_the_other(method: OnlineMethod) -> None:
    pruner, loader, scores = wrapped(method, 23)
    if isinstance(method, ImportanceSampling):
        pruner, loader, scores = wrapped(ImportanceSampling(tau_th=0), 23)
    for _ in range(6):
        train(pruner, loader, scores)
    stream, cursor, expected = Stream(23, 0, shuffled=True), 0, []
    for ids in scores.seen:
        taken, cursor = stream.take(cursor, len(ids))
        expected.append(taken.tolist())
        assert len(set(ids)) == len(ids)
    assert scores.seen == expected
    assert cursor > 46, "several orders"
    visits = np.bincount(scores.flat, minlength=23)
    assert visits.max() - visits.min() <= 1 + cursor // 23


@pytest.mark.parametrize("shuffle", [False, True])
@of_four
def test_the_seed_alone_says_what_is_drawn(method: OnlineMethod, shuffle: bool) -> None:
    if isinstance(method, ImportanceSampling):
        method = ImportanceSampling(tau_th=0)
    runs = []
    for seed in (5, 5, 6):
        pruner, loader, scores = wrapped(method, settings={"seed": seed}, shuffle=shuffle)
        runs.append([train(pruner, loader, scores) for _ in range(2)])
    assert runs[0] == runs[1]
    draws_nothing = isinstance(method, OrderedTopQ) and not shuffle
    assert (runs[0] == runs[2]) == draws_nothing


def test_without_shuffling_candidates_come_in_the_order_of_their_ids() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ(), 10, 2, shuffle=False)
    train(pruner, loader, scores)
    train(pruner, loader, scores)
    assert scores.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]


@of_four
def test_what_is_trained_was_a_candidate_just_before(method: OnlineMethod) -> None:
    pruner, loader, scores = wrapped(method)
    for batch in loader:
        assert loader.batch_ids.tolist() == batch.tolist()
        assert set(batch.tolist()) <= set(scores.flat)
        pruner.reduce(batch.float() + 1)
        scores.time += 1


@pytest.mark.parametrize("method", [ExtraForwardBernoulli(), ImportanceSampling(tau_th=0)])
def test_weights_come_with_the_batch(method: OnlineMethod) -> None:
    """What reduce gives is (1/m) Σ w ℓ with the weights of the rule."""
    pruner, loader, scores = wrapped(method, epochs=30)
    constant = []
    for _ in range(30):
        for batch in loader:
            constant.append(float(pruner.reduce(torch.ones(len(batch)))))
            scores.time += 1
    spread = np.std(constant) / math.sqrt(len(constant))
    assert spread > 0
    assert abs(np.mean(constant) - 1) < 4 * spread


@pytest.mark.parametrize("method", [OrderedTopQ(), SelectiveBackprop()], ids=short)
def test_a_step_exponent_scales_by_the_epochs_share(method: OnlineMethod) -> None:
    for exponent, expected in ((None, 1.0), (0.0, 1.0), (1.0, 50 / 24), (0.5, (50 / 24) ** 0.5)):
        pruner, loader, _ = wrapped(method, settings={"step_exponent": exponent})
        for batch in loader:
            assert float(pruner.reduce(torch.ones(len(batch)))) == pytest.approx(expected)
        assert pruner.report().rows[0].weight_mean == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", [SelectiveBackprop, OrderedTopQ])
def test_the_run_saves_what_was_asked(kind: Any, ratio: float) -> None:
    pruner, loader, scores = wrapped(kind(prune_ratio=ratio, delta=0.9), 60, epochs=10)
    for _ in range(10):
        train(pruner, loader, scores)
    report = pruner.report()
    assert report.prune_rate == pytest.approx(ratio, abs=4 / 600 + 1e-9)
    assert pruner.finished
    assert not report.notes


def test_warm_up_and_annealing_train_everything_unseen() -> None:
    method = SelectiveBackprop(warmup_epochs=1, delta=0.5)
    pruner, loader, scores = wrapped(method, 22, epochs=4)
    batches = [train(pruner, loader, scores) for _ in range(4)]
    assert [len(epoch) for epoch in batches] == [6, 2, 6, 6]
    assert pruner.report().rows[0].extra_forwards == 0
    for number in (0, 2, 3):
        order = Stream(22, 0, shuffled=True).order(number).tolist()
        assert list(itertools.chain.from_iterable(batches[number])) == order
    assert [row.extra_forwards > 0 for row in pruner.report().rows] == [False, True, False, False]


def test_a_ratio_of_zero_trains_everything() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ(prune_ratio=0.0), 22)
    assert sorted(itertools.chain.from_iterable(train(pruner, loader))) == list(range(22))
    assert not scores.seen


def test_fewer_samples_than_a_batch_make_one_small_batch() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ(prune_ratio=0.5), 9, 16)
    assert len(loader) == 1
    assert [len(ids) for ids in train(pruner, loader)] == [4]
    assert sorted(scores.flat) == sorted(set(scores.flat))
    _, others, _ = wrapped(OrderedTopQ(prune_ratio=0.5), 9, 16, drop_last=True)
    with pytest.raises(EmptyEpochError, match="has 4 samples and drop_last=True"):
        next(iter(others))


def test_equal_losses_do_not_keep_a_batch_from_being_filled() -> None:
    """Nobody is above anybody: the paper's rule would look for ever."""
    pruner = Pruner(SelectiveBackprop(), epochs=3)
    plain = DataLoader(Numbers(20), 4, shuffle=True)
    loader: Any = pruner.wrap(plain, score_fn=lambda ids: torch.ones(len(ids)))
    assert [len(ids) for ids in train(pruner, loader)] == [4, 4]


def test_a_budget_of_steps_ends_within_an_epoch() -> None:
    pruner = Pruner(OrderedTopQ(prune_ratio=0.5), steps=9)
    loader: Any = pruner.wrap(DataLoader(Numbers(50), 4, shuffle=True), score_fn=Scores())
    done = 0
    while not pruner.finished:
        num = len(train(pruner, loader))
        assert num
        done += num
    assert done == 9
    assert len(loader) == 0


def test_training_scores_spare_importance_sampling_its_looks() -> None:
    """The paper's: uniform batches move τ̂ by what their own training showed."""
    method = ImportanceSampling(tau_th=1e9)
    quiet, told = (wrapped(method) for _ in range(2))
    for batch in told[1]:
        norm = torch.ones(len(batch)) * 2
        told[0].reduce(batch.float(), scores={"logit_grad_norm": norm, "loss": batch.float()})
    train(quiet[0], quiet[1])
    assert quiet[0].report().extra_forwards > told[0].report().extra_forwards == 8
    vectors = told[0].state_dict()["clock"]["ledger"]["vectors"]
    # All norms are equal, so that each look and each batch says τ = 1.
    first = told[2].seen[0]
    share = torch.tensor(first)
    assert float(vectors["tau"]) < 1
    assert bool(vectors["is_told"])
    assert len(share) == 8


# ----------------------------------------------------------------------- peeks, breaks, and workers


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


# --------------------------------------------------------------------------- the batch in hand


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


# -------------------------------------------------------------------------------- refused at once


def test_an_online_method_needs_a_score_fn() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    with pytest.raises(SettingError, match=r"OrderedTopQ got no score_fn.*scoring\(model, fn\)"):
        pruner.wrap(DataLoader(Numbers(9), 3, shuffle=True))


def test_a_loader_without_batches_is_refused() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    with pytest.raises(SamplerError, match=r"batch_size=None.*makes batches"):
        pruner.wrap(DataLoader(Numbers(9), None, shuffle=True), score_fn=Scores())


@pytest.mark.parametrize(
    "settings", [{"always_keep": [1]}, {"min_per_class": 1, "labels": [0] * 9}], ids=str
)
def test_protection_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"with OrderedTopQ; .*plans whole epochs"):
        Pruner(OrderedTopQ(), epochs=3, **settings)


def test_below_the_loop_there_is_nothing_to_choose_from() -> None:
    with pytest.raises(SettingError, match=r"num_samples=9\).*pruner\.wrap"):
        Pruner(OrderedTopQ(), epochs=3, num_samples=9)
    pruner, loader, _ = wrapped(OrderedTopQ())
    with pytest.raises(SettingError, match=r"before it is trained.*loader\.batch_ids"):
        pruner.plan(0)
    train(pruner, loader)
    with pytest.raises(SettingError, match="before it is trained"):
        pruner.plan(1)
    assert pruner._clock is not None
    assert pruner._clock.epoch == 0, "asking closes nothing"
    with pytest.raises(SettingError, match=r"The sampler of an epoch of OrderedTopQ"):
        list(loader.sampler)
    assert len(loader.sampler) == 24


def test_a_subset_cannot_replace_what_is_chosen() -> None:
    pruner, _, _ = wrapped(OrderedTopQ())
    with pytest.raises(SettingError, match="chooses by itself"):
        pruner.replace_subset([1])


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda ids: {"other": ids.float()}, MissingScoreError, "got other from the score_fn.*loss"),
    (lambda ids: None, MissingScoreError, "got a NoneType from the score_fn"),
    (lambda ids: ids.float().mean(), BatchMismatchError, r"'loss' of shape \(\) for 8 samples"),
    (lambda ids: ids[:3].float(), BatchMismatchError, r"shape \(3,\) for 8 samples"),
    (lambda ids: {"loss": [1.0] * 8}, BatchMismatchError, "of list for 8 samples"),
]


@pytest.mark.parametrize(("score_fn", "error", "message"), BAD, ids=range(len(BAD)))
def test_scores_that_do_not_fit_are_refused_in_the_first_batch(
    score_fn: Any, error: type[Exception], message: str
) -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(DataLoader(Numbers(50), 4, shuffle=True), score_fn=score_fn)
    with pytest.raises(error, match=message):
        next(iter(loader))


def test_a_tensor_is_the_one_score_that_is_needed() -> None:
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(
        DataLoader(Numbers(50), 4, shuffle=True), score_fn=lambda ids: ids.half()
    )
    for batch in loader:
        pruner.reduce(batch.float())


def test_a_reduce_without_a_loop_is_refused() -> None:
    pruner, _, _ = wrapped(OrderedTopQ())
    with pytest.raises(NotIteratedError, match="no batch in hand"):
        pruner.reduce(torch.ones(4))


def test_a_short_run_is_not_warned_of() -> None:
    """An online method does not learn from earlier epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pruner(SelectiveBackprop(prune_ratio=0.5), epochs=1)


def test_the_report_says_what_the_looks_cost() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ())
    train(pruner, loader)
    report = pruner.report()
    assert f"extra forward passes {len(scores.flat)}, 2.00 a trained sample" in str(report)
    assert report.rows[0].extra_forwards == 48


def test_max_weight_clips_the_weights_of_the_rule() -> None:
    method = ExtraForwardBernoulli(alpha=0.0)
    free, bound = (wrapped(method, settings={"max_weight": m}) for m in (None, 1.0))
    for pruner, loader, _ in (free, bound):
        train(pruner, loader)
    assert free[0].report().rows[0].weight_max > 1
    assert bound[0].report().rows[0].weight_max == 1
    assert free[2].seen == bound[2].seen
