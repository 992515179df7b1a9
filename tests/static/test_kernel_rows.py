"""Rows that are computed ahead are the rows that were asked for, however little is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from static.dense import gradients
from static.found import made_up
from thresher.static import kernel_rows
from thresher.static.gradients import GradientGroups, Gradients
from thresher.static.kernel_rows import KernelRows, chunks

SIZE = 12


@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(
            st.integers(0, SIZE - 1), st.lists(st.floats(-9, 9), min_size=SIZE, max_size=SIZE)
        ),
        max_size=30,
    ),
    st.sets(st.integers(0, SIZE - 1), max_size=4),
)
def test_every_row_is_the_one_asked_for(
    kept: int, asked: list[tuple[int, list[float]]], never: set[int]
) -> None:
    matrix = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_rows, "KEPT", kept)
        rows = KernelRows(lambda positions: matrix[positions], SIZE)
    assert rows.limit == max(1, min(SIZE, kept // SIZE))
    for position, ranks in asked:
        priority = np.array(ranks)
        priority[list(never)] = -np.inf
        assert rows.row(position, priority).tolist() == matrix[position].tolist()
        some = np.unique([position, (position + 5) % SIZE])[: rows.limit]
        assert rows.some(some, priority).tolist() == matrix[some].tolist()


def test_rows_that_rank_next_are_computed_along() -> None:
    size, blocks = 1000, list[int]()

    def block(positions: np.ndarray) -> np.ndarray:
        blocks.append(len(positions))
        return np.zeros((len(positions), size), dtype=np.float32)

    rows, priority = KernelRows(block, size), np.arange(size, 0, -1.0)
    for position in range(size):
        priority[position] = -np.inf
        rows.row(position, priority)
    assert sum(blocks) == size
    assert len(blocks) < 10, "each block is twice as large as the last, when all were used"


@given(st.integers(1, 10**4), st.integers(1, 10**8))
def test_chunks_are_everything_in_order(num: int, width: int) -> None:
    parts = chunks(num, width)
    assert np.array_equal(np.concatenate(parts), np.arange(num))
    assert all(len(part) == 1 or len(part) * width <= 1 << 22 for part in parts)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_gradients_are_those_of_autograd(count: int) -> None:
    data = made_up(60)
    dense, ids = gradients(data), torch.arange(10, 60)
    factored = Gradients(data, ids)
    positions = torch.arange(count)
    expected = dense[ids[positions]] @ dense[ids].T
    assert torch.allclose(factored.inner(positions).double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(factored.squared_norms().double(), dense[ids].square().sum(1), rtol=1e-5)
    total = factored.total().flatten().double()
    assert torch.allclose(total, dense[ids].sum(0), rtol=1e-4, atol=1e-4)
    along = factored.along(factored.total(positions), positions).double()
    expected = dense[ids[positions]] @ dense[ids[positions]].sum(0)
    assert torch.allclose(along, expected, rtol=1e-4, atol=1e-4)


def test_unit_gradients_have_norm_one_unless_they_are_zero() -> None:
    data = made_up(20)
    assert data.probabilities is not None
    assert data.labels is not None
    data.probabilities[3] = torch.nn.functional.one_hot(data.labels[3], 3).float()
    norms = Gradients(data, torch.arange(20), unit=True).squared_norms()
    assert norms[3] == 0
    assert torch.allclose(norms[torch.arange(20) != 3], torch.ones(19))


@pytest.mark.parametrize("size", [1, 4, 7, 50])
def test_groups_are_sums_over_the_size_of_a_group(size: int) -> None:
    data = made_up(30)
    dense = torch.stack([part.sum(0) / size for part in gradients(data).split(size)])
    groups = GradientGroups(Gradients(data, torch.arange(30)), size)
    everybody = np.arange(len(dense))
    close = {"rtol": 1e-4, "atol": 1e-5}
    assert np.allclose(groups.block(everybody), dense @ dense.T, **close)
    assert np.allclose(groups.squares(), dense.square().sum(1), **close)
    assert np.allclose(groups.towards(), dense @ dense.sum(0), **close)
    assert groups.members(everybody).tolist() == list(range(30))
    assert groups.members(everybody[-1:]).tolist() == list(range(30))[-(30 % size or size) :]
