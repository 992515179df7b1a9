"""A plan can be shared out: equal steps for every rank, and the global mean is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from made_up_plans import plan_of
from thresher.errors import SettingError

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
