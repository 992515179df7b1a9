"""A trace is cut into windows of optimizer steps; unseen and broken scores enter no mean."""

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

from thresher import Pruner, RePB
from thresher.plan import _CHUNK, Trace

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
