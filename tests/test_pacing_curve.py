"""A paced scheduler keeps the designed curve, whatever the pruned epochs' lengths are."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from paced_loop import (
    EPOCHS,
    SCHEDULERS,
    SIZES,
    Loop,
    N,
    Scripted,
    bare,
    every_scheduler,
    rates,
    sgd,
)
from thresher import Full, Pruner


def test_no_scheduler_of_torch_is_left_out() -> None:
    found = {
        kind
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, LRScheduler) and not name.startswith("_")
    }
    assert found - {LRScheduler} == {*SCHEDULERS, ReduceLROnPlateau}


@every_scheduler
def test_the_rate_at_every_epochs_end_is_the_unpruned_runs(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind]).run()
    assert len(loop.used) == sum(SIZES)
    assert loop.ends == bare(kind, N)[N::N]


@every_scheduler
def test_with_accumulation_too(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], accumulation_steps=3).run()
    assert loop.full == 4
    assert len(loop.used) == sum(-(-size // 3) for size in SIZES)
    assert loop.ends == bare(kind, 4)[4::4]


@every_scheduler
def test_a_framework_may_call_it_several_times_in_one_optimizer_step(kind: type) -> None:
    loop = Loop(Scripted(), lambda optimizer, total: SCHEDULERS[kind](optimizer, 3 * total))
    loop.scheduler.calls_per_step = 3
    step = loop.scheduler.step
    loop.scheduler.step = lambda: [step() for _ in range(3)]  # type: ignore[method-assign]
    assert loop.run().ends == bare(kind, 3 * N)[3 * N :: 3 * N]


@every_scheduler
def test_an_early_break_is_caught_up_by_the_next_epoch(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], breaks=(4, 5, 2)).run()
    curve = bare(kind, N)
    assert loop.ends[0] == curve[4]
    assert loop.ends[1] == curve[2 * N]
    assert loop.ends[3:] == curve[4 * N :: N]


@every_scheduler
@pytest.mark.parametrize("settings", [{}, {"accumulation_steps": 5}, {"batch_size": 5}], ids=str)
def test_full_is_the_bare_scheduler_at_every_step(kind: type, settings: dict[str, Any]) -> None:
    for drop_last in (False, True):
        loop = Loop(Full(), SCHEDULERS[kind], drop_last=drop_last, **settings).run()
        curve = bare(kind, loop.full)
        assert loop.used == curve[:-1]
        assert loop.ends[-1] == curve[-1]


@every_scheduler
def test_per_epoch_is_the_bare_scheduler_stepped_once_an_epoch(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind], per="epoch").run()
    assert loop.ends == bare(kind, 1)[1:]


@every_scheduler
def test_within_an_epoch_the_rate_is_one_of_the_designed_curve_in_order(kind: type) -> None:
    loop = Loop(Scripted(), SCHEDULERS[kind]).run()
    curve, at, used = bare(kind, N), 0, 0
    for epoch, size in enumerate(SIZES):
        for step in range(size):
            at = epoch * N + (2 * step * N + size) // (2 * size)
            assert loop.used[used] == curve[at]
            used += 1


@given(
    kind=st.sampled_from(list(SCHEDULERS)),
    sizes=st.lists(st.integers(1, N), min_size=EPOCHS, max_size=EPOCHS),
    breaks=st.lists(st.integers(1, 2 * N), max_size=EPOCHS - 1),
    micro=st.integers(1, 4),
)
@examples(max_examples=60)
def test_any_lengths_end_at_the_final_rate_without_an_error(
    kind: type, sizes: list[int], breaks: list[int], micro: int
) -> None:
    method = Scripted(sizes=tuple(sizes))
    loop = Loop(method, SCHEDULERS[kind], breaks=breaks, accumulation_steps=micro).run()
    assert loop.ends[-1] == bare(kind, loop.full)[-1]


@given(sizes=st.lists(st.integers(1, N), min_size=1, max_size=8))
@examples(max_examples=40)
def test_one_cycle_ends_at_its_final_rate_for_any_lengths(sizes: list[int]) -> None:
    method, epochs = Scripted(sizes=tuple(sizes)), len(sizes)
    loop = Loop(method, SCHEDULERS[lr_scheduler.OneCycleLR], epochs=epochs).run()
    assert loop.ends == bare(lr_scheduler.OneCycleLR, N, epochs)[N::N]
    assert loop.scheduler.last_epoch == N * epochs


@pytest.mark.parametrize("kind", [lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR])
def test_momentum_cycles_with_the_rate(kind: type) -> None:
    momenta = {end[2] for end in Loop(Scripted(), SCHEDULERS[kind]).run().ends}
    assert len(momenta) > 2


def test_adams_first_beta_cycles_with_one_cycle() -> None:
    adam = optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    loop = Loop(
        Scripted(), lambda o, total: lr_scheduler.OneCycleLR(o, 0.5, total), optimizer=adam
    ).run()
    assert adam.param_groups[0]["betas"][0] == pytest.approx(0.95, abs=1e-3)
    assert loop.ends[1][0] > 0.4


def test_a_run_of_steps_is_stepped_once_an_optimizer_step() -> None:
    for kind in SCHEDULERS:
        pruner = Pruner(Scripted(sizes=(3,) * 30), steps=30, accumulation_steps=2)
        loader = pruner.wrap(DataLoader(torch.zeros(N, 1), 2, shuffle=True))
        optimizer, used = sgd(), []
        scheduler = pruner.pace(SCHEDULERS[kind](optimizer, 30))
        while not pruner.finished:
            for batch in loader:
                pruner.reduce(batch.sum(1))
            used.append(rates(optimizer))
            optimizer.step()
            scheduler.step()
        assert used == bare(kind, 30, 1)[:-1]
