"""What a run's report counts: planned, trained, weights, seconds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.utils.data import DataLoader

from small_runs import Script, every_method
from thresher import Full, InfoBatch, Method, Pruner, RandomPruning, RePB
from thresher.accounting import Row, row_of, rows_from_tensor, rows_to_tensor
from thresher.plan import Plan, Trace
from whole_runs import N, run

METHODS = every_method()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_report_counts_what_was_planned_and_trained(method: Method) -> None:
    script = Script(method)
    for _ in script.run():
        pass
    report = script.pruner.report()
    by_epoch = [
        sum(len(entry[1]) for entry in entries)
        for _, entries in itertools.groupby(script.trail, key=lambda entry: entry[0])
    ]
    assert [row.trained for row in report.rows] == by_epoch
    assert report.trained == report.planned == sum(by_epoch)
    assert report.prune_rate == 1 - sum(by_epoch) / (22 * 5)
    assert report.num_samples == 22
    assert report.epochs == 5
    assert report.asked == method.prune_ratio
    looks_again = type(method).refreshed is not Method.refreshed
    assert (report.extra_forwards > 0) == (looks_again and report.prune_rate > 0)
    assert report.method == repr(method)
    assert all(row.skipped_batches == row.non_finite == 0 for row in report.rows)


def test_times_are_measured_and_add_up() -> None:
    report = run(RePB(rho=0.5)).report()
    assert all(row.planning_seconds > 0 for row in report.rows)
    assert all(row.closing_seconds > 0 for row in report.rows[:-1])
    assert report.rows[-1].closing_seconds == 0  # nothing has closed it
    assert report.planning_seconds == sum(row.planning_seconds for row in report.rows)
    assert report.closing_seconds == sum(row.closing_seconds for row in report.rows)
    assert report.planning_seconds + report.closing_seconds < 5


def test_a_row_tells_of_the_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    plan = Plan(epoch=3, ids=torch.tensor([4, 0, 2]), weights=weights, num_samples=6)
    trace = Trace(
        scores={"loss": torch.tensor([1.0, torch.nan, torch.nan])},
        step=torch.tensor([0, 1, -1], dtype=torch.int32),
    )
    row = row_of(plan, trace, skipped_batches=2)
    assert (row.epoch, row.planned, row.trained, row.skipped_batches) == (3, 3, 2, 2)
    assert row.non_finite == 1  # the third was never seen
    assert row.weight_mean == pytest.approx(8 / 3)
    assert row.weight_max == 5
    assert row.effective_samples == pytest.approx(64 / 30)
    assert math.isnan(row.asked)


def test_a_report_before_anything_is_empty_and_prints() -> None:
    for pruner in (Pruner(RePB(), epochs=3), Pruner(RePB(), epochs=3, num_samples=N)):
        report = pruner.report()
        assert report.rows == report.notes == []
        assert report.prune_rate == report.trained == 0
        assert "RePB" in str(report)


def test_the_epoch_in_progress_is_in_the_report_as_far_as_it_went() -> None:
    pruner = Pruner(Full(), epochs=3, num_samples=N)
    pruner.observe(pruner.plan(0).ids[:30], torch.zeros(30))
    (row,) = pruner.report().rows
    assert (row.planned, row.trained) == (N, 30)
    assert pruner.report().prune_rate == 0.25
    pruner.observe(pruner.plan(0).ids[20:], torch.zeros(20))
    assert pruner.report().trained == N


def test_samples_of_an_epoch_left_early_count_as_not_trained() -> None:
    pruner = Pruner(RePB(rho=0.9), epochs=5)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    for _ in range(2):
        for k, ids in enumerate(loader):
            pruner.reduce(ids.float())
            if k == 4:
                break
    assert [row.trained for row in pruner.report().rows] == [20, 20]
    assert pruner.report().planned > 60


def test_a_report_prints_its_rate_its_rows_and_its_notes() -> None:
    text = str(run(InfoBatch(prune_ratio=0.9, delta=1.0), epochs=20).report())
    assert "InfoBatch(" in text
    assert "40 samples" in text
    assert "epoch 20 of 20" in text
    assert "(asked: 90% over the run)" in text
    assert len([line for line in text.splitlines() if line.split()[:1] == ["19"]]) == 1
    assert "note: asked 90 %, saved" in text


def test_rows_survive_a_table_of_fixed_shape() -> None:
    rows = run(RandomPruning(prune_ratio=0.3)).report().rows
    for capacity in (5, 9):
        table = rows_to_tensor(rows, capacity)
        assert table.shape == (capacity, 16)
        assert [repr(row) for row in rows_from_tensor(table)] == [repr(row) for row in rows]
    assert [row.epoch for row in rows_from_tensor(rows_to_tensor(rows, 3))] == [2, 3, 4]
    assert rows_from_tensor(rows_to_tensor([], 4)) == []
    assert type(rows_from_tensor(rows_to_tensor(rows, 5))[0].planned) is int


def test_a_row_is_a_plain_record() -> None:
    assert {type(value) for value in vars(row_fixture()).values()} == {int, float}


def row_fixture() -> Row:
    return run(RandomPruning(prune_ratio=0.3)).report().rows[0]
