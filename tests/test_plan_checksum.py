"""A checksum tells plans apart by ids and weight bits, however they are stored."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from made_up_plans import changed, plan_of
from thresher.plan import _CHUNK, Plan


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
