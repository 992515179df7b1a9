"""Shards whose plans are not equally long take equal steps, and train everybody once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.errors import SettingError
from thresher.parallel.even_steps import EvenSteps

quickly = settings(deadline=None, max_examples=60)


@quickly
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any), st.integers(1, 17))
def test_equal_steps_train_every_planned_sample_once(sizes: list[int], batch_size: int) -> None:
    every = [
        EvenSteps(sizes=tuple(sizes), rank=rank, batch_size=batch_size)
        for rank in range(len(sizes))
    ]
    num = every[0].num_batches
    assert {each.num_batches for each in every} == {num}
    assert num == -(-max(sizes) // batch_size)
    mean = sum(sizes) / num
    for size, each in zip(sizes, every, strict=True):
        slices = [each.batch(t) for t in range(num)]
        trained = [place for part in slices for place in range(part.start, part.stop)]
        assert trained == list(range(size))
        lengths = {part.stop - part.start for part in slices}
        assert max(lengths) <= batch_size
        assert max(lengths) - min(lengths) <= 1
        assert each.num_trained == sum(sizes)
    for t in range(num):
        real = sum(each.batch(t).stop - each.batch(t).start for each in every)
        assert {each.real(t) for each in every} == {real}
        assert abs(real - mean) < len(sizes)


@quickly
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any), st.integers(1, 17))
def test_without_the_remainder_all_batches_are_full(sizes: list[int], batch_size: int) -> None:
    for rank in range(len(sizes)):
        each = EvenSteps(sizes=tuple(sizes), rank=rank, batch_size=batch_size, drops_remainder=True)
        slices = [each.batch(t) for t in range(each.num_batches)]
        assert each.num_batches == min(sizes) // batch_size
        assert all(part.stop - part.start == batch_size for part in slices)
        assert each.num_trained == len(sizes) * batch_size * each.num_batches
        if slices:
            assert slices[-1].stop <= sizes[rank]


@pytest.mark.parametrize(
    ("sizes", "rank", "batch_size"), [((3, 4), 2, 1), ((3, 4), 0, 0), ((3, -1), 0, 2)]
)
def test_parts_that_no_rank_can_have_are_refused(
    sizes: tuple[int, ...], rank: int, batch_size: int
) -> None:
    with pytest.raises(SettingError):
        EvenSteps(sizes=sizes, rank=rank, batch_size=batch_size)
