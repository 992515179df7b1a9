"""Whose part of a plan is what: laws of the layout, and its arithmetic. No processes are needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thresher import Plan
from thresher.grid import Grid
from thresher.parallel.layout import Layout

sizes = st.integers(0, 60)
worlds = st.integers(1, 6)
batches = st.integers(1, 7)


def grids(world: int, batch: int, *, drop_last: bool = False, drops: bool = False) -> list[Grid]:
    return [
        Grid(
            batch_size=batch,
            drop_last=drop_last,
            rank=rank,
            world_size=world,
            drops_remainder=drops,
        )
        for rank in range(world)
    ]


def cut(positions: np.ndarray, batch: int) -> list[list[int]]:
    return [positions[k : k + batch].tolist() for k in range(0, len(positions), batch)]


@given(sizes, worlds, batches, st.booleans(), st.booleans())
def test_every_rank_takes_as_many_steps_and_all_of_them_train_what_the_grid_covers(
    size: int, world: int, batch: int, drop_last: bool, drops: bool
) -> None:
    every = grids(world, batch, drop_last=drop_last, drops=drops)
    layouts = [Layout(size, grid) for grid in every]
    parts = [layout.local(np.arange(size)) for layout in layouts]
    covered = every[0].covered(size)
    assert {len(part) for part in parts} == {layouts[0].num_local} == {every[0].stop(size)}
    assert set(np.concatenate(parts).tolist()) == set(range(covered))
    assert size - covered < (batch * world if drop_last else world if drops else 1)
    if drops or drop_last:
        assert len(np.concatenate(parts)) == covered, "nobody repeats a sample"


@given(sizes, worlds, batches, st.booleans(), st.booleans())
def test_a_global_batch_is_that_of_one_process(
    size: int, world: int, batch: int, drop_last: bool, drops: bool
) -> None:
    every = grids(world, batch, drop_last=drop_last, drops=drops)
    alone = cut(np.arange(every[0].covered(size)), batch * world)
    of_ranks = [cut(Layout(size, grid).local(np.arange(size)), batch) for grid in every]
    assert {len(each) for each in of_ranks} == {len(alone)} == {every[0].num_batches(size)}
    for number, expected in enumerate(alone):
        together = [position for each in of_ranks for position in each[number]]
        assert sorted(set(together)) == expected
        assert together[: len(expected)] == expected, "in the order of the ranks"
        for each in of_ranks:
            assert len(set(each[number])) == len(each[number]), "no rank has one sample twice"


@given(sizes, worlds, batches)
def test_a_layout_is_the_share_that_a_plan_gives(size: int, world: int, batch: int) -> None:
    plan = Plan(epoch=0, ids=torch.arange(size), weights=torch.ones(size), num_samples=size)
    for rank, grid in enumerate(grids(world, batch)):
        share, layout = plan.share(rank, world, batch), Layout(size, grid)
        assert layout.local(np.arange(size)).tolist() == share.ids.tolist()
        padding = layout.padding()
        everything = slice(0, layout.num_local)
        real = None if padding is None else padding.is_real(everything)
        assert share.real.tolist() == ([True] * layout.num_local if real is None else real.tolist())


@given(sizes, worlds, batches, st.booleans(), st.booleans())
def test_merging_the_parts_gives_the_whole(
    size: int, world: int, batch: int, drop_last: bool, drops: bool
) -> None:
    layouts = [Layout(size, grid) for grid in grids(world, batch, drop_last=drop_last, drops=drops)]
    values = np.random.default_rng(0).random(size)
    parts = np.stack([layout.local(values) for layout in layouts])
    covered = layouts[0]._grid.covered(size)
    for layout in layouts:
        merged = layout.merged(parts, -1)
        assert np.array_equal(merged[:covered], values[:covered])
        assert (merged[covered:] == -1).all()


@given(st.data(), st.integers(1, 60), worlds, batches)
def test_what_a_padding_copy_says_is_never_merged(
    data: st.DataObject, size: int, world: int, batch: int
) -> None:
    every = grids(world, batch)
    layouts = [Layout(size, grid) for grid in every]
    parts = np.stack([layout.local(np.arange(size, dtype=float)) for layout in layouts])
    for layout, part in zip(layouts, parts, strict=True):
        padding = layout.padding()
        if padding is not None:
            part[padding.real :] = np.nan
    assert np.array_equal(layouts[0].merged(parts, -1), np.arange(size))


@given(st.data(), st.integers(1, 50), worlds, batches, worlds, batches)
def test_what_is_left_after_a_load_is_cut_anew_and_nothing_is_lost(
    data: st.DataObject, size: int, world: int, batch: int, before: int, batch_before: int
) -> None:
    """On the same global batches it is cut as if nothing had been interrupted."""
    first = grids(before, batch_before)[0]
    done = np.arange(min(size, data.draw(st.integers(0, 8)) * first.global_size))
    if data.draw(st.booleans()):  # some batches in between were skipped
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        done = np.flatnonzero(mask)
    every = grids(world, batch)
    layouts = [Layout(size, grid, done) for grid in every]
    values = np.random.default_rng(1).random(size)
    parts = np.stack([layout.local(values) for layout in layouts])
    assert np.array_equal(layouts[-1].merged(parts, -1), values)
    left = np.setdiff1d(np.arange(size), done)
    for grid, layout in zip(every, layouts, strict=True):
        rest = layout.num_local - grid.stop(len(left))
        mine = layout.local(np.arange(size))
        assert set(mine[:rest].tolist()) <= set(done.tolist())
        assert (
            mine[rest:].tolist()
            == left[Layout(len(left), grid).local(np.arange(len(left)))].tolist()
        )
        if first.global_size == grid.global_size and np.array_equal(done, np.arange(len(done))):
            assert mine.tolist() == Layout(size, grid).local(np.arange(size)).tolist()


@given(st.integers(1, 60), worlds, batches)
def test_how_much_is_covered_grows_by_global_batches(size: int, world: int, batch: int) -> None:
    grid = grids(world, batch)[0]
    layout = Layout(size, grid)
    for number in range(grid.num_batches(size) + 1):
        seen = min(number * batch, layout.num_local)
        assert layout.covered(seen) == min(number * batch * world, size)


@pytest.mark.parametrize(
    ("drop_last", "drops", "expected"),
    [(False, False, (6, 11)), (False, True, (5, 10)), (True, False, (4, 8)), (True, True, (4, 8))],
)
def test_eleven_samples_over_two_ranks_in_batches_of_two(
    drop_last: bool, drops: bool, expected: tuple[int, int]
) -> None:
    grid = grids(2, 2, drop_last=drop_last, drops=drops)[0]
    assert (grid.stop(11), grid.covered(11)) == expected


def test_a_batch_put_together_by_ids_knows_its_copies_too() -> None:
    """Five samples over four ranks in batches of one: the last one is a copy on three of them."""
    padding = Layout(5, grids(4, 1)[1]).padding()
    assert padding is not None
    assert (padding.start, padding.real, padding.share) == (1, 1, 0.25)
    assert padding.is_real(slice(0, 1)) is None
    assert padding.is_real(np.array([0])) is None
    mixed = padding.is_real(np.array([1, 0]))
    assert mixed is not None
    assert mixed.tolist() == [False, True]
    losses = torch.tensor([torch.inf, 3.0])
    assert padding.mean(losses, mixed, 0.5).item() == 3, "the mean of what is no copy"
    assert padding.mean(losses[:1], mixed[:1]).item() == 0
    assert padding.mean(torch.tensor([3.0]), np.array([True])).item() == 12, "times W / R"


def test_without_copies_there_is_nothing_to_mask() -> None:
    assert Layout(8, grids(2, 2)[0]).padding() is None
    assert Layout(7, grids(2, 2, drop_last=True)[0]).padding() is None
    assert Layout(7, grids(2, 2, drops=True)[1]).padding() is None
    assert Layout(6, grids(2, 2)[1]).padding() is None, "the last batch is shared evenly"
