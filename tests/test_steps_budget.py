"""A run of a fixed number of optimizer steps spends them exactly, and prunes what was asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from small_runs import copied, differences, every_method
from thresher import Full, InfoBatch, Method, Omission, OrderDP, Pruner, RandomPruning, RePB
from thresher.errors import SettingError

METHODS = every_method()
N = 40


class Loop:
    """Trains on scores that are functions of the id, and counts optimizer steps."""

    def __init__(
        self,
        method: Method,
        steps: int,
        *,
        batch_size: int = 4,
        drop_last: bool = False,
        num_samples: int = N,
        num_workers: int = 0,
        accumulation_steps: int = 1,
        **settings: Any,
    ) -> None:
        self.micro = accumulation_steps
        self.pruner = Pruner(method, steps=steps, accumulation_steps=self.micro, **settings)
        plain = DataLoader(
            torch.arange(num_samples),
            batch_size,
            shuffle=True,
            drop_last=drop_last,
            num_workers=num_workers,
        )
        self.loader: Any = self.pruner.wrap(plain, score_fn=self.scores)
        self.optimizer_steps = 0
        self.lengths: list[tuple[int, int]] = []
        self.trail: list[list[int]] = []

    def scores(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of samples in a batch, or of those that a method looks at again."""
        return dict.fromkeys(self.pruner.method.needs, torch.frac((ids + 1) * 0.618034))

    def epoch(self) -> Loop:
        batches = iter(self.loader)
        said, count = len(batches), 0
        for ids in batches:
            assert self.micro > 1 or not self.pruner.finished
            losses = torch.frac((ids + 1) * 0.618034)
            named = dict.fromkeys(self.pruner.method.needs, losses)
            self.pruner.reduce(losses, scores=named or None)
            self.trail.append(ids.tolist())
            count += 1
        self.optimizer_steps += -(-count // self.micro)
        self.lengths.append((said, count))
        return self

    def run(self) -> Loop:
        while not self.pruner.finished:
            self.epoch()
            assert self.lengths[-1][1], "an epoch without a batch would never end"
            assert len(self.lengths) < 500
        return self


# ------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize("settings", [{}, {"drop_last": True}, {"accumulation_steps": 3}], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_spends_the_steps_exactly(method: Method, settings: dict[str, Any]) -> None:
    for steps in (1, 10, 33):
        loop = Loop(method, steps, **settings).run()
        assert loop.optimizer_steps == steps
        assert loop.pruner.finished
        assert all(said == count for said, count in loop.lengths)
        assert len(loop.loader) == 0
        assert list(loop.loader) == []


@given(
    steps=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    micro=st.integers(1, 5),
    drop_last=st.booleans(),
    ratio=st.sampled_from([0.0, 0.3, 0.6, 0.9]),
)
@examples(max_examples=50)
def test_any_budget_is_spent_exactly(
    steps: int, batch_size: int, micro: int, drop_last: bool, ratio: float
) -> None:
    loop = Loop(
        RandomPruning(prune_ratio=ratio),
        steps,
        batch_size=batch_size,
        # A plan of four samples has no batch of nine.
        drop_last=drop_last and batch_size <= 2,
        accumulation_steps=micro,
    ).run()
    assert loop.optimizer_steps == steps
    assert all(said == count for said, count in loop.lengths)


def test_the_last_epoch_is_cut_short_and_len_says_so_before_it_and_in_it() -> None:
    loop = Loop(Full(), 24)
    for _ in range(2):
        assert len(loop.loader) == 10
        loop.epoch()
        assert not loop.pruner.finished
    assert len(loop.loader) == 4
    for seen, ids in enumerate(loop.loader, start=1):
        loop.pruner.reduce(ids.float())
        assert len(loop.loader) == (4 if seen < 4 else 0)
        assert loop.pruner.finished == (seen == 4)
    assert loop.pruner.epoch == 3


def test_the_budget_is_in_optimizer_steps_not_in_micro_batches() -> None:
    # Ten batches are four steps, the last of one micro-batch.
    assert Loop(Full(), 7, accumulation_steps=3).run().lengths == [(10, 10), (9, 9)]
    assert Loop(Full(), 3, accumulation_steps=3).run().lengths == [(9, 9)]


def test_the_part_of_an_epoch_that_the_budget_leaves_out_is_not_saved() -> None:
    for steps in (3, 10, 24):
        report = Loop(Full(), steps).run().pruner.report()
        assert report.trained == 4 * steps
        assert report.prune_rate == pytest.approx(0, abs=1e-12)
        assert report.notes == []


def test_the_sampler_is_cut_with_the_epoch() -> None:
    loop = Loop(Full(), 12)
    loop.epoch()
    ids = list(loop.loader.sampler)
    assert len(ids) == len(loop.loader.sampler) == 8
    loop.epoch()
    assert [i for batch in loop.trail[-2:] for i in batch] == ids


def test_workers_do_not_read_past_the_budget() -> None:
    loop = Loop(Full(), 13, num_workers=2).run()
    assert loop.optimizer_steps == 13
    assert loop.lengths == [(10, 10), (3, 3)]


def test_an_early_break_leaves_the_rest_of_the_budget() -> None:
    loop = Loop(Full(), 12)
    for k, ids in enumerate(loop.loader):
        loop.pruner.reduce(ids.float())
        if k == 2:
            break
    loop.optimizer_steps = 3
    loop.run()
    assert loop.optimizer_steps == 12
    assert loop.lengths == [(9, 9)]


def test_a_skipped_batch_spends_no_step() -> None:
    loop = Loop(Full(), 12)
    batches = iter(loop.loader)
    loop.pruner.reduce(next(batches).float())
    next(batches)
    with pytest.warns(UserWarning, match="never reduced"):
        loop.pruner.reduce(next(batches).float())
    for ids in batches:
        loop.pruner.reduce(ids.float())
    loop.optimizer_steps = 9
    loop.run()
    assert loop.optimizer_steps == 12


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_run_of_steps_resumes_at_every_micro_batch(method: Method, micro: int) -> None:
    whole = Loop(method, 24 // micro, accumulation_steps=micro).run()
    state = Loop(method, 24 // micro, accumulation_steps=micro).pruner.state_dict()
    trail: list[list[int]] = []
    while len(trail) <= len(whole.trail):
        loop = Loop(method, 24 // micro, accumulation_steps=micro)
        loop.pruner.load_state_dict(state)
        if loop.pruner.finished and not len(loop.loader):
            break
        batches = iter(loop.loader)
        ids = next(batches)
        losses = torch.frac((ids + 1) * 0.618034)
        named = dict.fromkeys(method.needs, losses)
        loop.pruner.reduce(losses, scores=named or None)
        trail.append(ids.tolist())
        state = copied(loop.pruner.state_dict())
    assert trail == whole.trail
    assert not differences(state, whole.pruner.state_dict())


# --------------------------------------------------------------------------------------- the ratio


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.7])
@pytest.mark.parametrize(
    "kind", [RandomPruning, OrderDP, Omission, RePB], ids=lambda kind: kind.__name__
)
def test_a_run_of_steps_saves_the_ratio_that_was_asked(kind: Any, ratio: float) -> None:
    # T visits stand for T / (1 - P) of the full run: for 8 epochs of 100 batches.
    size, full_steps = 1000, 800
    steps = round((1 - ratio) * full_steps)
    method = kind(prune_ratio=ratio)
    loop = Loop(method, steps, batch_size=10, num_samples=size).run()
    report = loop.pruner.report()
    assert loop.optimizer_steps == steps
    assert report.trained <= steps * 10
    # An epoch's size is a whole number, RePB's is drawn, and a short last batch is a step too.
    assert report.prune_rate == pytest.approx(ratio, abs=0.02)
    last = report.rows[-1]
    begun = len(report.rows) - 1 + last.trained / last.planned
    assert begun == pytest.approx(8, rel=0.04)
    assert not [note for note in report.notes if "asked" in note and abs_gap(report) <= 0.01]


def abs_gap(report: Any) -> float:
    return abs(report.prune_rate - report.asked)


def test_annealing_is_the_last_part_of_the_steps() -> None:
    loop = Loop(RandomPruning(prune_ratio=0.4, delta=0.75), 60).run()
    planned = [row.planned for row in loop.pruner.report().rows]
    assert planned[0] < N
    assert planned[-1] == N
    assert loop.pruner.report().prune_rate == pytest.approx(0.4, abs=0.05)
    pruned = sum(size for size in planned if size < N)
    assert pruned == pytest.approx(0.75 * 240, abs=N)


def test_a_rate_that_a_run_of_steps_does_not_reach_is_noted_when_it_is_done() -> None:
    loop = Loop(InfoBatch(prune_ratio=0.8), 50)
    loop.epoch()
    assert not any("asked" in note for note in loop.pruner.report().notes)
    loop.run()
    (note,) = [note for note in loop.pruner.report().notes if "asked" in note]
    assert note.startswith("asked 80 %, saved ")
    assert "the most InfoBatch could prune" in note


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, r"steps=0.*1 or more"),
        ({"steps": 5, "epochs": 2}, r"epochs=2, steps=5.*one of the two"),
        ({"steps": 5, "num_samples": 9}, r"num_samples=9.*wrap one, or give epochs"),
    ],
    ids=range(3),
)
def test_budgets_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Pruner(Full(), **settings)


def test_a_pruner_of_steps_is_not_finished_before_it_has_a_loader() -> None:
    assert not Pruner(Full(), steps=3).finished
