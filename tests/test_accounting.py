"""The report and the log tell what was trained, what was saved, and what was not as asked."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from small_runs import Script, every_method
from thresher import Full, InfoBatch, Method, Omission, OrderDP, Pruner, RandomPruning, RePB
from thresher.accounting import Row, row_of, rows_from_tensor, rows_to_tensor
from thresher.errors import AllLossesNaNError, ThresherWarning
from thresher.plan import Plan, Trace

METHODS = every_method()
N = 40


def run(method: Method, *, epochs: int = 5, broken: float = 0.0, **settings: Any) -> Pruner:
    """A whole run below the loop; `broken` is what sample 7's score is, if not 0."""
    pruner = Pruner(method, epochs=epochs, num_samples=N, **settings)
    for epoch in range(epochs):
        plan = pruner.plan(epoch)
        scores = torch.frac((plan.ids + 1) * 0.618034)
        if broken:
            scores[plan.ids == 7] = broken
        pruner.observe(plan.ids, scores)
    return pruner


# -------------------------------------------------------------------------------------- numbers


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
        assert table.shape == (capacity, 12)
        assert [repr(row) for row in rows_from_tensor(table)] == [repr(row) for row in rows]
    assert [row.epoch for row in rows_from_tensor(rows_to_tensor(rows, 3))] == [2, 3, 4]
    assert rows_from_tensor(rows_to_tensor([], 4)) == []
    assert type(rows_from_tensor(rows_to_tensor(rows, 5))[0].planned) is int


# ---------------------------------------------------------------------------------------- notes


def rate_notes(pruner: Pruner) -> list[str]:
    return [note for note in pruner.report().notes if note.startswith("asked")]


def test_a_rate_that_was_not_reached_is_noted_once_the_run_is_complete() -> None:
    pruner = Pruner(InfoBatch(prune_ratio=0.7, delta=1.0), epochs=10, num_samples=N)
    for epoch in range(10):
        plan = pruner.plan(epoch)
        assert rate_notes(pruner) == []
        pruner.observe(plan.ids, torch.frac((plan.ids + 1) * 0.618034))
    rate = pruner.report().prune_rate
    assert rate < 0.69
    assert rate_notes(pruner) == [
        f"asked 70 %, saved {100 * rate:.3g} %: the most InfoBatch could prune in this run"
    ]


@pytest.mark.parametrize("kind", [RandomPruning, OrderDP, Omission])
def test_a_rate_that_was_reached_is_not_noted(kind: Any) -> None:
    pruner = run(kind(prune_ratio=0.5))
    assert pruner.report().prune_rate == pytest.approx(0.5, abs=0.01)
    assert pruner.report().notes == []


def test_no_rate_asked_is_no_note() -> None:
    assert run(InfoBatch()).report().notes == []


def test_a_rate_beyond_the_asked_one_is_noted_with_what_was_never_trained() -> None:
    pruner = Pruner(RandomPruning(prune_ratio=0.2), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 9, shuffle=True, drop_last=True))
    for _ in range(3):
        for ids in loader:
            pruner.reduce(ids.float())
    assert pruner.finished
    assert pruner.report().trained == 81
    first, second = pruner.report().notes
    assert first == "asked 20 %, saved 32.5 %: more than was asked"
    assert second.startswith("12.5 % of all visits were planned but not trained")
    assert "drop_last" in second


def test_skipped_batches_are_totalled_in_a_note() -> None:
    pruner = Pruner(Full(), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*never reduced")
        for _ in range(2):
            for k, ids in enumerate(loader):
                if k % 3 != 1:
                    pruner.reduce(ids.float())
    assert [row.skipped_batches for row in pruner.report().rows] == [3, 3]
    assert pruner.report().notes == ["batches fetched but never reduced, so not trained: 6"]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_scores_are_counted_each_epoch_warned_once_and_totalled(broken: float) -> None:
    with pytest.warns(ThresherWarning, match=r"1 samples of epoch 0 .*NaN or infinite") as caught:
        pruner = run(InfoBatch(), broken=broken)
    assert len(caught) == 1
    assert [row.non_finite for row in pruner.report().rows] == [1] * 5
    assert pruner.report().notes == ["scores that were NaN or infinite and counted as unseen: 5"]


def test_epochs_beyond_the_planned_ones_train_on_everything_and_are_noted() -> None:
    pruner = run(RandomPruning(prune_ratio=0.5))
    for epoch in (5, 6):
        plan = pruner.plan(epoch)
        assert len(plan) == N
        pruner.observe(plan.ids, torch.zeros(N))
    notes = pruner.report().notes
    assert "epochs on all samples, beyond the planned 5: 2" in notes
    assert notes[0].startswith("asked 50 %, saved 35.7 %")


# ------------------------------------------------------------------- what arithmetic cannot give


@pytest.mark.parametrize(
    ("method", "epochs", "most"),
    [
        (RePB(prune_ratio=0.9), 10, "86%"),  # 9 epochs of 95 %
        (InfoBatch(prune_ratio=0.5), 3, "32%"),  # δ leaves two, and the first sees nothing
        (RandomPruning(prune_ratio=0.6, warmup_epochs=5), 10, "48%"),
        (OrderDP(prune_ratio=0.5, delta=0.5), 4, "48%"),
        (InfoBatch(prune_ratio=0.3, warmup_epochs=20), 10, "0%"),
        (RandomPruning(prune_ratio=0.99, delta=0.9), 10, "89%"),  # 9 epochs of 99 %
    ],
    ids=range(6),
)
def test_a_ratio_out_of_reach_is_warned_of_at_construction(
    method: Method, epochs: int, most: str
) -> None:
    with pytest.warns(ThresherWarning, match=rf"cannot save .*{most}; expected") as caught:
        pruner = Pruner(method, epochs=epochs, num_samples=N)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for epoch in range(epochs):
        plan = pruner.plan(epoch)
        pruner.observe(plan.ids, torch.frac((plan.ids + 1) * 0.618034))
    assert method.prune_ratio
    assert pruner.report().prune_rate < method.prune_ratio - 0.005
    assert pruner.report().prune_rate <= float(most[:-1]) / 100 + 0.01


def test_a_ratio_within_reach_is_not_warned_of_and_reached() -> None:
    for method in (
        RandomPruning(prune_ratio=0.47, warmup_epochs=5),
        RandomPruning(prune_ratio=0.8, delta=0.9),
        OrderDP(prune_ratio=0.8),
    ):
        assert run(method, epochs=10).report().prune_rate == pytest.approx(
            method.prune_ratio, abs=0.01
        )


def test_a_method_that_learns_warns_below_three_epochs_and_only_once() -> None:
    with pytest.warns(ThresherWarning, match=r"RePB learns from earlier.*3 epochs") as caught:
        Pruner(RePB(prune_ratio=0.5), epochs=2)
    assert len(caught) == 1
    Pruner(RandomPruning(prune_ratio=0.5), epochs=1)
    Pruner(Full(), epochs=1)


# ------------------------------------------------------------------------------------------ log


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_log_is_called_once_for_each_closed_epoch_with_numbers(method: Method) -> None:
    calls: list[tuple[dict[str, float], int]] = []
    script = Script(method, accumulation_steps=2, log=lambda m, step: calls.append((m, step)))
    for _ in script.run():
        pass
    assert [metrics["epoch"] for metrics, _ in calls] == [0, 1, 2, 3]
    rows = script.pruner.report().rows
    steps = np.cumsum([math.ceil(math.ceil(row.trained / 4) / 2) for row in rows]).tolist()
    assert [step for _, step in calls] == steps[:4]
    for (metrics, _), row in zip(calls, rows, strict=False):
        assert all(isinstance(value, int | float) for value in metrics.values())
        assert metrics["trained_ratio"] == metrics["planned_ratio"] == row.trained / 22
        assert metrics["weight_mean"] == row.weight_mean
        assert metrics["effective_ratio"] == row.effective_samples / row.planned
        assert metrics["planning_seconds"] == row.planning_seconds
    pruned = [metrics for metrics, _ in calls if metrics["planned_ratio"] < 1]
    if isinstance(method, RePB):
        assert all(0 <= metrics["rho"] <= 1 for metrics in pruned)
        assert pruned
    if isinstance(method, InfoBatch):
        assert all(0 <= metrics["r"] < 1 for metrics in pruned)


def test_the_log_says_what_an_epoch_aimed_at() -> None:
    calls: list[dict[str, float]] = []
    run(RandomPruning(prune_ratio=0.4), log=lambda metrics, step: calls.append(metrics))
    assert [metrics["target"] for metrics in calls] == [pytest.approx(0.4)] * 4


def test_looking_at_a_coming_epoch_does_not_log_it() -> None:
    calls: list[int] = []
    pruner = Pruner(Full(), epochs=3, log=lambda metrics, step: calls.append(step))
    loader = pruner.wrap(DataLoader(torch.arange(8), 4))
    for ids in loader:
        pruner.reduce(ids.float())
    for _ in range(3):
        next(iter(loader))
        pruner.report()
        pruner.state_dict()
        assert len(loader) == 2
    assert calls == []
    batches = iter(loader)
    pruner.reduce(next(batches).float())
    assert calls == [2]


# ------------------------------------------------------------------------------- all losses NaN


@pytest.mark.parametrize(
    "method", [Full(), RePB(), RandomPruning()], ids=lambda m: type(m).__name__
)
def test_a_first_batch_of_nan_is_refused_at_once_and_can_be_tried_again(method: Method) -> None:
    pruner = Pruner(method, epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    batches = iter(loader)
    ids = next(batches)
    for _ in range(2):
        with pytest.raises(AllLossesNaNError, match=r"All 4 losses of the first batch.*targets"):
            pruner.reduce(torch.full((4,), torch.nan))
    assert pruner.position == 0
    pruner.reduce(ids.float())
    next(batches)
    # Later a batch of NaN passes through: gradient scalers need to see it.
    assert pruner.reduce(torch.full((4,), torch.nan)).isnan()
    assert pruner.position == 8


def test_one_number_among_nan_is_enough() -> None:
    pruner = Pruner(Full(), epochs=3)
    loader = pruner.wrap(DataLoader(torch.arange(N), 4, shuffle=True))
    batches = iter(loader)
    next(batches)
    assert pruner.reduce(torch.tensor([torch.nan, 1.0, torch.nan, torch.nan])).isnan()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_epoch_without_one_number_is_refused_when_it_closes(broken: float) -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe(pruner.plan(0).ids, torch.full((N,), broken))
    with pytest.raises(AllLossesNaNError, match=r"All 40 scores of epoch 0.*learning rate"):
        pruner.plan(1)
    assert pruner.plan(0).epoch == 0
    pruner.observe([5], torch.zeros(1))
    with pytest.warns(ThresherWarning, match="39 samples"):
        assert len(pruner.plan(1)) == N


def test_a_partly_seen_epoch_is_judged_by_what_was_seen() -> None:
    pruner = Pruner(InfoBatch(), epochs=5, num_samples=N)
    pruner.observe(pruner.plan(0).ids[:3], torch.full((3,), torch.nan))
    with pytest.raises(AllLossesNaNError, match="All 3 scores"):
        pruner.plan(1)


def test_a_row_is_a_plain_record() -> None:
    assert {type(value) for value in vars(row_fixture()).values()} == {int, float}


def row_fixture() -> Row:
    return run(RandomPruning(prune_ratio=0.3)).report().rows[0]
