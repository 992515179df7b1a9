"""Plans can be shared out, told apart, and filtered; traces can be cut into windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.utils.data import DataLoader

from contracts.drive import named
from small_runs import every_method
from thresher import Full, Method, Pruner, RePB
from thresher.errors import SettingError
from thresher.plan import _CHUNK, Plan, Trace


def plan_of(size: int, seed: int = 0, num_samples: int | None = None) -> Plan:
    generator = torch.Generator().manual_seed(seed)
    total = num_samples or 2 * size + 1
    ids = torch.randperm(total, generator=generator)[:size]
    return Plan(
        epoch=0,
        ids=ids,
        weights=torch.rand(size, generator=generator) + 0.5,
        num_samples=total,
    )


# ---------------------------------------------------------------------------------------- sharing

sizes = st.integers(1, 60), st.integers(1, 5), st.integers(1, 7)


@given(*sizes)
@examples(max_examples=150)
def test_shares_are_equally_long_and_hold_every_sample_once_as_real(
    size: int, world: int, batch: int
) -> None:
    plan = plan_of(size)
    shares = [plan.share(rank, world, batch) for rank in range(world)]
    assert len({len(share.ids) for share in shares}) == 1
    for share in shares:
        assert share.ids.shape == share.weights.shape == share.real.shape
        assert share.real.dtype == torch.bool
    real = torch.cat([share.ids[share.real] for share in shares])
    assert sorted(real.tolist()) == sorted(plan.ids.tolist())
    weight = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))
    for share in shares:
        assert share.weights.tolist() == [weight[i] for i in share.ids.tolist()]


@given(*sizes)
@examples(max_examples=150)
def test_every_global_batch_is_the_plans_next_samples(size: int, world: int, batch: int) -> None:
    plan = plan_of(size)
    shares = [plan.share(rank, world, batch) for rank in range(world)]
    for k, start in enumerate(range(0, size, world * batch)):
        wanted = plan.ids[start : start + world * batch].tolist()
        parts = [slice(k * batch, (k + 1) * batch)] * world
        got = [i for s, part in zip(shares, parts, strict=True) for i in s.ids[part].tolist()]
        real = [r for s, part in zip(shares, parts, strict=True) for r in s.real[part].tolist()]
        assert [i for i, is_real in zip(got, real, strict=True) if is_real] == wanted
        # Padding repeats the last global batch's own samples, and fewer than one for each rank.
        assert set(got) <= set(wanted)
        assert real.count(False) < world
        assert real.count(True) == len(wanted)


@given(*sizes)
@examples(max_examples=100)
def test_the_mean_over_ranks_of_masked_sums_is_the_global_weighted_mean(
    size: int, world: int, batch: int
) -> None:
    # The local divisor is R / W: real samples in the global batch over ranks.
    plan = plan_of(size)
    losses = {i: math.sin(i) for i in plan.ids.tolist()}
    shares = [plan.share(rank, world, batch) for rank in range(world)]
    for k, start in enumerate(range(0, size, world * batch)):
        stop = min(size, start + world * batch)
        local = []
        for share in shares:
            part = slice(k * batch, (k + 1) * batch)
            rows = zip(share.ids[part].tolist(), share.weights[part].tolist(), strict=True)
            terms = [losses[i] * w for i, w in rows]
            total = sum(t for t, r in zip(terms, share.real[part].tolist(), strict=True) if r)
            local.append(total / ((stop - start) / world))
        rows = zip(plan.ids[start:stop].tolist(), plan.weights[start:stop].tolist(), strict=True)
        exact = sum(losses[i] * w for i, w in rows) / (stop - start)
        assert np.mean(local) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_one_rank_gets_the_whole_plan() -> None:
    plan = plan_of(17)
    ids, weights, real = plan.share(rank=0, world_size=1, batch_size=4)
    assert torch.equal(ids, plan.ids)
    assert torch.equal(weights, plan.weights)
    assert real.all()


@pytest.mark.parametrize(
    "arguments", [(2, 2, 1), (-1, 2, 1), (0, 0, 1), (0, 1, 0), (0, 1, -2)], ids=str
)
def test_a_rank_outside_the_world_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(SettingError, match="0 <= rank < world_size"):
        plan_of(4).share(*arguments)


# --------------------------------------------------------------------------------------- checksum


def changed(plan: Plan, **changes: Any) -> Plan:
    values = {"ids": plan.ids.clone(), "weights": plan.weights.clone(), **changes}
    return Plan(epoch=0, num_samples=plan.num_samples, **values)


def swapped(values: Tensor, a: int, b: int) -> Tensor:
    new = values.clone()
    new[a], new[b] = values[b].item(), values[a].item()
    return new


def test_equal_plans_have_equal_checksums_however_they_are_stored() -> None:
    plan = plan_of(1000)
    assert plan.checksum() == changed(plan).checksum() == plan.checksum()
    assert 0 <= plan.checksum() < 2**63
    ones = torch.ones(1).expand(1000)
    assert (
        changed(plan, weights=ones).checksum() == changed(plan, weights=torch.ones(1000)).checksum()
    )
    strided = torch.stack([plan.ids, plan.ids], 1)[:, 0]
    assert changed(plan, ids=strided).checksum() == plan.checksum()


@given(size=st.integers(2, 40), data=st.data())
@examples(max_examples=150)
def test_any_small_change_changes_the_checksum(size: int, data: st.DataObject) -> None:
    plan = plan_of(size)
    at = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda k: k != at))
    ids, weights = plan.ids.clone(), plan.weights.clone()
    ids[at] = 2 * size + 5
    weights[at] = torch.nextafter(weights[at], torch.tensor(9.0))
    sums = {
        plan.checksum(),
        changed(plan, ids=ids).checksum(),
        changed(plan, weights=weights).checksum(),
        changed(plan, ids=swapped(plan.ids, at, other)).checksum(),
        changed(plan, weights=swapped(plan.weights, at, other)).checksum(),
        changed(plan, ids=plan.ids[:-1], weights=plan.weights[:-1]).checksum(),
    }
    assert len(sums) == 6


def test_checksums_of_many_plans_do_not_collide() -> None:
    assert len({plan_of(size, seed).checksum() for size in range(1, 60) for seed in range(20)}) > (
        59 * 20 - 20  # plans of one sample repeat their only id now and then
    )


def test_a_checksum_does_not_depend_on_pieces_or_big_ids() -> None:
    size = 2 * _CHUNK + 3
    ids = torch.arange(size) + (1 << 24)
    plan = Plan(epoch=0, ids=ids, weights=torch.ones(size), num_samples=1 << 25)
    late = changed(plan, ids=swapped(ids, _CHUNK - 1, _CHUNK))
    assert late.checksum() != plan.checksum()
    assert changed(plan, ids=swapped(ids, 0, 2 * _CHUNK)).checksum() != plan.checksum()


# ----------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("method", every_method(), ids=repr)
def test_a_plan_is_the_epochs_full_order_filtered_by_the_selection(
    method: Method, shuffle: bool
) -> None:
    everyone = Pruner(Full(), epochs=5, seed=3)
    chosen = Pruner(method, epochs=5, seed=3)
    for pruner in (everyone, chosen):
        plain = DataLoader(torch.arange(200), 4, shuffle=shuffle)
        pruner.wrap(plain, score_fn=lambda ids: dict.fromkeys(method.needs, ids))
    for epoch in range(5):
        order, plan = everyone.plan(epoch).ids.tolist(), chosen.plan(epoch)
        assert sorted(order) == list(range(200))
        assert (order == sorted(order)) != shuffle
        kept = set(plan.ids.tolist())
        assert plan.ids.tolist() == [i for i in order if i in kept]
        everyone.observe(order, torch.rand(200))
        chosen.observe(plan.ids, named(method, torch.frac((plan.ids + 1) * 0.618034)))


# ---------------------------------------------------------------------------------------- windows

finite32 = st.floats(-(2.0**60), 2.0**60, width=32)


def trace_of(scores: Any, step: Any) -> Trace:
    return Trace(
        scores={"loss": torch.as_tensor(np.asarray(scores, dtype=np.float32))},
        step=torch.as_tensor(np.asarray(step, dtype=np.int32)),
    )


@given(value=st.floats(2.0**-100, 2.0**100, width=32), count=st.integers(1, 400))
@examples(max_examples=300)
def test_equal_losses_never_lie_below_their_own_mean(value: float, count: int) -> None:
    trace = trace_of([value] * count, [0] * count)
    mean = trace.window_mean("loss", 1)
    assert mean.dtype == torch.float64
    assert (mean == value).all()
    assert not trace.below_window_mean("loss", 1).any()


@given(arrays(np.float32, 128, elements=finite32))
@examples(max_examples=100)
def test_a_window_never_lies_below_its_mean_as_a_whole(scores: np.ndarray) -> None:
    mean = trace_of(scores, np.zeros(128)).window_mean("loss", None)
    assert float(mean[0]) == pytest.approx(math.fsum(scores.tolist()) / 128, rel=1e-12, abs=1e40)
    assert (scores >= mean.numpy()).any()


def test_in_float32_the_mean_of_equal_losses_would_lie_above_them() -> None:
    # What the window mean guards against: 128 equal losses whose float32 mean is larger.
    losses = np.full(128, 0.1, dtype=np.float32)
    plain = np.float32(0)
    for loss in losses:
        plain += loss
    assert (losses < plain / 128).any()
    assert not (losses < trace_of(losses, np.zeros(128)).window_mean("loss", 1).numpy()).any()


@given(
    size=st.integers(1, 60),
    window=st.one_of(st.none(), st.integers(1, 5)),
    seed=st.integers(0, 999),
)
@examples(max_examples=150)
def test_window_means_are_those_of_a_plain_loop(size: int, window: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.standard_exponential(size).astype(np.float32)
    scores[rng.random(size) < 0.1] = np.nan
    scores[rng.random(size) < 0.05] = np.inf
    step = rng.integers(-1, 12, size)
    trace = trace_of(scores, step)
    mean = trace.window_mean("loss", window).numpy()
    below = trace.below_window_mean("loss", window)
    assert below.dtype == torch.bool
    assert below.tolist() == (scores < mean).tolist()
    for k in range(size):
        if step[k] < 0:
            continue
        number = [0 if window is None else s // window for s in step]
        peers = [
            float(scores[j])
            for j in range(size)
            if step[j] >= 0 and number[j] == number[k] and np.isfinite(scores[j])
        ]
        if peers:
            assert mean[k] == pytest.approx(math.fsum(peers) / len(peers), rel=1e-12)
        else:
            assert math.isnan(mean[k])


def test_unseen_and_broken_scores_are_in_no_mean() -> None:
    trace = trace_of([1, 3, 100, np.nan, np.inf, np.nan], [0, 0, -1, 0, 0, 1])
    mean = trace.window_mean("loss", 1)
    assert mean[:2].tolist() == [2, 2]
    assert mean[3:5].tolist() == [2, 2]
    assert math.isnan(mean[5])  # a window without one number
    assert trace.seen.tolist() == [True, True, False, True, True, True]


def test_windows_may_be_longer_than_a_piece_and_cross_pieces() -> None:
    size = 2 * _CHUNK + 7
    scores = torch.arange(size) % 1000
    for length in (_CHUNK // 2 + 1, 3 * _CHUNK // 2, 5):
        step = torch.arange(size) // length
        trace = trace_of(scores, step)
        count = torch.bincount(step).double()
        total = torch.zeros(len(count), dtype=torch.float64).index_add_(0, step, scores.double())
        assert torch.equal(trace.window_mean("loss", 1), (total / count)[step])


def test_a_trace_of_nothing_has_no_windows() -> None:
    assert trace_of([], []).window_mean("loss", 1).tolist() == []
    assert trace_of([1, 2], [-1, -1]).below_window_mean("loss", 1).tolist() == [False, False]


def test_a_window_is_a_number_of_optimizer_steps() -> None:
    scores, step = [0, 2, 4, 6, 8, 10], [0, 0, 1, 2, 2, 3]
    trace = trace_of(scores, step)
    assert trace.window_mean("loss", 1).tolist() == [1, 1, 4, 7, 7, 10]
    assert trace.window_mean("loss", 2).tolist() == [2, 2, 2, 8, 8, 8]
    assert trace.window_mean("loss", 3).tolist() == [4, 4, 4, 4, 4, 10]
    assert trace.window_mean("loss", None).tolist() == [5] * 6


def test_micro_batches_of_one_optimizer_step_share_a_window() -> None:
    pruner = Pruner(RePB(), epochs=3, num_samples=12, accumulation_steps=2)
    plan = pruner.plan(0)
    for ids in plan.ids.split(2):
        pruner.observe(ids, ids.float())
    trace = pruner._clock.current.trace()  # type: ignore[union-attr]
    assert trace.step.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    means = plan.ids.view(3, 4).double().mean(1).repeat_interleave(4)
    assert trace.window_mean("loss", 1).tolist() == means.tolist()


def test_window_means_do_not_depend_on_the_number_of_threads() -> None:
    scores = np.random.default_rng(0).standard_exponential(100_000).astype(np.float32)
    step = np.arange(100_000) // 128
    means = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            means.append(trace_of(scores, step).window_mean("loss", 3))
        finally:
            torch.set_num_threads(1)
    assert torch.equal(*means)


# ----------------------------------------------------------------------------------------- a plan


def test_a_plan_knows_whether_it_weights() -> None:
    assert changed(plan_of(5), weights=torch.ones(5)).is_unweighted
    assert not changed(plan_of(5), weights=torch.tensor([1, 1, 1, 1, 1 + 2**-23])).is_unweighted
    assert len(plan_of(5)) == 5
