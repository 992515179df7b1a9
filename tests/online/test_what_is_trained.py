"""What an online epoch trains: counts, candidates, weights, ratios."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from loops import Numbers
from online.found import FOUR, METHODS, short
from online.runs import Scores, train, wrapped
from thresher import Pruner
from thresher.errors import EmptyEpochError
from thresher.online import (
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)
from thresher.stream import Stream

of_every_method = pytest.mark.parametrize("method", METHODS, ids=short)
of_four = pytest.mark.parametrize("method", FOUR, ids=short)


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
