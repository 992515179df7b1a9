"""Scores in fewer bytes: what is stored, what it costs in accuracy, and that runs stay exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.drive import EPOCHS, epoch_of, losses, run, steps
from contracts.found import METHODS, short
from shards.together import whole_and_shards
from thresher import (
    KAKURENBO,
    EpsilonGreedy,
    InfoBatch,
    Omission,
    OrderDP,
    Pruner,
    RePB,
    SeTa,
    Subset,
)
from thresher.diagnostics.redraw import ledger_of
from thresher.errors import CheckpointError, SettingError
from thresher.ledger import Column, Ledger
from thresher.methods import Method
from thresher.plan import Trace
from thresher.planning import Planner
from thresher.population import Population
from thresher.schedule import Budget
from thresher.storage import narrowed, widened

NARROW = [torch.bfloat16, torch.float16, torch.uint8]
SIZE = 64

LARGEST_ERROR = {
    torch.bfloat16: (2.0**-8, 1e-30, 1e30),
    torch.float16: (2.0**-11, 2.0**-14, 65504.0),
    torch.uint8: (0.074, 2.0**-16, 588.0),
}
"""As a share of the score, and the sizes of scores it holds for."""

SCORED = [method for method in METHODS if any(c.is_score for c in method.columns())]


def stored(values: list[float] | np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """What a method reads of scores that were stored."""
    return widened(narrowed(torch.tensor(values, dtype=torch.float32), dtype))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_what_was_read_is_stored_again_as_the_same_bits(dtype: torch.dtype) -> None:
    size = 256 if dtype == torch.uint8 else 1 << 16
    everything = torch.arange(size, dtype=torch.int32).to(torch.uint8)
    if dtype != torch.uint8:
        everything = torch.arange(size, dtype=torch.int32).to(torch.int16).view(dtype)
        everything = everything[everything.isfinite()]
    again = narrowed(widened(everything), dtype)
    assert torch.equal(again.view(torch.uint8), everything.view(torch.uint8))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_the_error_is_what_is_promised_and_not_much_less(dtype: torch.dtype) -> None:
    bound, low, high = LARGEST_ERROR[dtype]
    generator = np.random.default_rng(0)
    values = np.exp(generator.uniform(math.log(low), math.log(high), 200_000)).astype(np.float32)
    values *= generator.choice([-1, 1], values.size).astype(np.float32)
    values = values[(np.abs(values) >= low) & (np.abs(values) <= high)]
    error = np.abs(stored(values, dtype).numpy() / values - 1).max()
    assert 0.9 * bound < error <= bound


def test_small_scores_are_off_by_half_the_smallest_size() -> None:
    values = np.linspace(0, 2.0**-16, 10_001, dtype=np.float32)
    assert np.abs(stored(values, torch.uint8).numpy() - values).max() <= 2.0**-17
    values = np.linspace(0, 2.0**-14, 10_001, dtype=np.float32)
    assert np.abs(stored(values, torch.float16).numpy() - values).max() <= 2.0**-25


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_the_order_of_scores_stays(dtype: torch.dtype, values: list[float]) -> None:
    read = stored(sorted(values), dtype)
    assert read.isfinite().all()
    assert (read.diff() >= 0).all()
    # A score never changes its sign, and 0 is 0.
    assert not (read.sign() * torch.tensor(sorted(values), dtype=torch.float32).sign() < 0).any()
    assert stored([0.0, -0.0], dtype).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_unseen_stays_unseen_and_too_large_becomes_the_largest(dtype: torch.dtype) -> None:
    read = stored([math.nan, math.inf, -math.inf, 3e38], dtype)
    assert read.isnan().tolist() == [True, False, False, False]
    assert read[1] == -read[2] > 500
    assert read[3] <= read[1]
    ledger = Ledger(3, [Column("loss", torch.float32, math.nan)], score_dtype=dtype)
    assert ledger["loss"].isnan().all()


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("method", SCORED, ids=short)
def test_a_saved_run_continues_exactly(method: Method, dtype: torch.dtype) -> None:
    """With plans and ledger of a run that was never saved: what is unpacked is never read twice."""
    table = losses(SIZE)

    def built() -> Pruner:
        return Pruner(method, epochs=EPOCHS, num_samples=SIZE, score_dtype=dtype)

    whole, halted = built(), built()
    for number in range(5):
        expected = epoch_of(whole, table)
        resumed = built()
        resumed.load_state_dict(halted.state_dict())
        assert resumed.plan(resumed.epoch).checksum() == expected.checksum()
        epoch_of(resumed, table)
        halted = resumed
        assert halted.plan(number + 1).checksum() == whole.plan(number + 1).checksum()
    ours, theirs = (p.state_dict()["clock"]["ledger"]["columns"] for p in (whole, halted))
    assert all(torch.equal(_raw(ours[name]), _raw(theirs[name])) for name in ours)


def _raw(column: torch.Tensor) -> torch.Tensor:
    return column if column.dtype == torch.bool else column.view(torch.uint8)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("method", SCORED, ids=short)
def test_dtypes_and_shapes_of_a_state_never_change(method: Method, dtype: torch.dtype) -> None:
    pruner = Pruner(method, epochs=EPOCHS, num_samples=SIZE, score_dtype=dtype)
    shapes = []
    for _ in range(3):
        columns = pruner.state_dict()["clock"]["ledger"]["columns"]
        shapes.append({name: (column.dtype, column.shape) for name, column in columns.items()})
        epoch_of(pruner, losses(SIZE))
    assert shapes[0] == shapes[1] == shapes[2]
    for column in method.columns():
        assert shapes[0][column.name][0] == (dtype if column.is_score else column.dtype)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("kind", [InfoBatch, OrderDP, SeTa, KAKURENBO])
def test_scores_that_fit_prune_as_float32_does(kind: type[Method], dtype: torch.dtype) -> None:
    """Powers of two have no rounding error in any of them."""
    table = 2.0 ** torch.randint(-6, 6, (5, SIZE), generator=torch.Generator().manual_seed(0))
    expected = [plan.checksum() for plan in run(kind(), table)[1]]
    pruner = Pruner(kind(), epochs=5, num_samples=SIZE, score_dtype=dtype)
    assert [epoch_of(pruner, table).checksum() for _ in range(5)] == expected


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_shards_keep_what_all_samples_in_one_place_keep(dtype: torch.dtype) -> None:
    # Loss ranks of a wide range, none of which rounding makes equal.
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(0))
    score = 1.01 * 2.0 ** (order / 5 - 8)
    method = EpsilonGreedy(epsilon=0.0, prune_ratio=0.5, warmup_epochs=1)

    def kept(over: Population) -> list[int]:
        columns, planner = method.columns(), Planner(method=method, seed=0)
        ledger = Ledger(SIZE, columns, population=over, score_dtype=dtype)
        budget = Budget(num_samples=SIZE, epochs=12)
        plan = planner.plan(ledger, budget, epoch=0, visits=0)
        scores = {"loss": score[plan.ids]}
        method.observe(ledger, plan, Trace(scores=scores, step=steps(len(plan))))
        ledger.settle()
        return planner.plan(ledger, budget, epoch=1, visits=SIZE).ids.tolist()

    whole, parts = whole_and_shards(3, kept)
    assert sorted(id_ for part in parts for id_ in part) == sorted(whole)
    assert 0 < len(whole) < SIZE


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_a_method_reads_the_rounded_score(dtype: torch.dtype) -> None:
    table = losses(SIZE, 3)
    pruner = Pruner(InfoBatch(), epochs=3, num_samples=SIZE, score_dtype=dtype)
    epoch_of(pruner, table)
    pruner.plan(1)
    loss = ledger_of(pruner)["loss"]
    assert loss.dtype == torch.float32
    assert torch.equal(loss, stored(table[0].numpy(), dtype))
    assert not torch.equal(loss, table[0])


def test_float32_is_neither_copied_nor_converted() -> None:
    ledger = Ledger(3, InfoBatch().columns())
    assert ledger["loss"] is ledger.columns["loss"]
    ledger["loss"][1] = 1 / 3
    ledger.settle()
    assert ledger.copy()["loss"][1] == torch.tensor(1 / 3)


def test_a_column_is_unpacked_once_and_stored_when_it_settles() -> None:
    ledger = Ledger(3, InfoBatch().columns(), score_dtype=torch.bfloat16)
    ledger["loss"][1] = 1 / 3
    assert ledger["loss"][1] == torch.tensor(1 / 3)
    assert ledger.columns["loss"].isnan().all()
    ledger.settle()
    assert ledger["loss"][1] == torch.tensor(1 / 3).bfloat16()


def test_bytes_of_a_sample_are_those_between_epochs() -> None:
    sizes = [
        Ledger(1, Omission().columns(), score_dtype=dtype).bytes_per_sample
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
    ]
    assert sizes == [4, 2, 2, 1]


def test_weights_and_counts_are_stored_as_they_are() -> None:
    columns = [*Subset([0]).columns(), *RePB().columns()]
    assert not any(column.is_score for column in columns)
    ledger = Ledger(2, columns, score_dtype=torch.uint8)
    assert {column.name: column.dtype for column in columns} == {
        name: values.dtype for name, values in ledger.columns.items()
    }


def test_another_dtype_than_the_checkpoints_is_refused_by_name() -> None:
    def built(dtype: torch.dtype) -> Pruner:
        return Pruner(OrderDP(), epochs=5, num_samples=SIZE, score_dtype=dtype)

    state = built(torch.bfloat16).state_dict()
    with pytest.raises(
        CheckpointError, match=r"score_dtype='torch.bfloat16'; expected: score_dtype='torch.float32"
    ):
        built(torch.float32).load_state_dict(state)
    ledger = Ledger(SIZE, OrderDP().columns(), score_dtype=torch.float16)
    with pytest.raises(CheckpointError, match=r"loss is torch.bfloat16 of 64 rows.*torch.float16"):
        ledger.load_state_dict(state["clock"]["ledger"])
    ledger = Ledger(SIZE + 1, OrderDP().columns(), score_dtype=torch.bfloat16)
    with pytest.raises(CheckpointError, match=r"64 rows; expected: torch.bfloat16 of 65 rows"):
        ledger.load_state_dict(state["clock"]["ledger"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.float8_e4m3fn])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(SettingError, match=rf"score_dtype={dtype}.*torch.bfloat16"):
        Pruner(InfoBatch(), epochs=5, score_dtype=dtype)


def test_a_method_without_scores_to_store_is_refused() -> None:
    with pytest.raises(SettingError, match=r"RePB\(.*score_dtype=torch.uint8\).*leave score_dtype"):
        Pruner(RePB(), epochs=5, score_dtype=torch.uint8)
