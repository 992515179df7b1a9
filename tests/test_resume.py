"""A run that is killed anywhere and resumed is the run that was never killed, to the bit."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from small_runs import Script, data, differences, every_method
from thresher import InfoBatch, Method, Omission, RandomPruning, RePB
from thresher.errors import StaleBatchError

METHODS = every_method()
THREE = [RePB(prune_ratio=0.4, window=2), Omission(prune_ratio=0.4), InfoBatch()]
SETTINGS: list[dict[str, Any]] = [
    {"accumulation_steps": 3},
    {"drop_last": True, "accumulation_steps": 2, "batch_size": 3},
    {"shuffle": False},
    {"step_exponent": 0.5},
    {"always_keep": [0, 3], "min_per_class": 2, "labels": data().tensors[1]},
]


def test_the_methods_are_those_that_keep_state_of_each_kind() -> None:
    assert len({type(method) for method in METHODS}) >= 6
    kept = {name for method in METHODS for name in (c.name for c in method.columns())}
    assert kept >= {"loss", "score", "visits", "in_set", "count"}


def assert_survives_being_killed_after_every_micro_batch(method: Method, **settings: Any) -> None:
    whole = Script(method, **settings)
    for _ in whole.run():
        pass
    assert len({entry[1][0] for entry in whole.trail}) > 3
    state, trail = Script(method, **settings).state(), []
    while len(trail) < len(whole.trail):
        # The state is loaded before wrap and after it in turn.
        script = Script(method, load_first=state if len(trail) % 2 else None, **settings)
        if not len(trail) % 2:
            script.load(state)
        next(script.run())
        trail += script.trail
        assert trail[-1] == whole.trail[len(trail) - 1]
        state = script.state()
    assert not differences(state, whole.state())


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_run_killed_after_every_micro_batch_ends_as_the_whole_one(
    method: Method, drop_last: bool
) -> None:
    assert_survives_being_killed_after_every_micro_batch(method, drop_last=drop_last)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s))
@pytest.mark.parametrize("method", THREE, ids=lambda method: type(method).__name__)
def test_so_does_a_run_with_other_settings(method: Method, settings: dict[str, Any]) -> None:
    assert_survives_being_killed_after_every_micro_batch(method, **settings)


@pytest.mark.parametrize("method", THREE, ids=lambda method: type(method).__name__)
def test_a_run_resumed_once_at_any_micro_batch_ends_as_the_whole_one(method: Method) -> None:
    whole = Script(method, epochs=4)
    states = [whole.state(), *(script.state() for script in whole.run())]
    assert len(states) > 12
    for cursor, state in enumerate(states):
        resumed = Script(method, epochs=4)
        resumed.load(state)
        for _ in resumed.run():
            pass
        assert resumed.trail == whole.trail[cursor:], f"after micro-batch {cursor}"
        assert not differences(resumed.state(), whole.state()), f"after micro-batch {cursor}"


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_run_with_workers_resumes_in_the_middle_and_at_the_end_of_an_epoch(
    method: Method,
) -> None:
    settings: dict[str, Any] = {"num_workers": 2, "epochs": 3, "num_samples": 12}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "InfoBatch.*cannot save")
        whole = Script(method, **settings)
        states = [script.state() for script in whole.run()]
        for cursor in (2, len(states) - 2):
            resumed = Script(method, **settings)
            resumed.load(states[cursor - 1])
            for _ in resumed.run():
                pass
            assert resumed.trail == whole.trail[cursor:]
            assert not differences(resumed.state(), whole.state())


def test_the_rest_of_an_epoch_is_left_and_len_is_the_whole_epoch() -> None:
    script = Script(RandomPruning(prune_ratio=0.3), drop_last=True)
    steps = script.run()
    for _ in range(5):
        next(steps)
    assert script.pruner.epoch == 1
    ids = script.pruner.plan(1).ids.tolist()
    state = script.state()
    resumed = Script(RandomPruning(prune_ratio=0.3), drop_last=True)
    resumed.load(state)
    assert resumed.pruner.epoch == 1
    assert resumed.pruner.position == 8
    assert len(resumed.loader) == 4
    peek = iter(resumed.loader)
    assert len(peek) == 2  # type: ignore[arg-type]
    batches = [resumed.loader.batch_ids.tolist() for _ in zip(range(2), peek, strict=False)]  # type: ignore[attr-defined]
    assert batches == [ids[8:12], ids[12:16]]
    assert list(resumed.loader.sampler) == ids[8:16]
    assert len(resumed.loader) == 4
    assert resumed.pruner.epoch == 1


def test_an_epoch_that_is_done_starts_the_next_one_after_a_load() -> None:
    method = RePB(rho=1.0)
    script = Script(method, drop_last=True)
    for _, _epoch in zip(range(5), script.run(), strict=False):
        pass
    assert script.pruner.epoch == 1
    resumed = Script(method, drop_last=True)
    resumed.load(script.state())
    assert resumed.pruner.epoch == 1
    assert resumed.pruner.state_dict()["clock"]["epoch"] == 0  # only training moves the clock
    next(resumed.run())
    assert resumed.trail[0][0] == 1
    assert len(resumed.pruner.plan(1)) < 22


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_state_saved_between_iter_and_the_first_reduce_of_an_epoch_resumes_it(
    method: Method,
) -> None:
    whole = Script(method, dropout=0.0)
    states: list[tuple[int, Any]] = []
    for epoch in range(whole.epochs):
        num_batches = len(whole.loader)
        for k, (x, y) in enumerate(whole.loader):
            if k == 0:
                states.append((len(whole.trail), whole.state()))
            whole.train(epoch, x, y, is_last=k + 1 == num_batches)
    for cursor, state in states:
        resumed = Script(method, dropout=0.0)
        resumed.load(state)
        for _ in resumed.run():
            pass
        assert resumed.trail == whole.trail[cursor:]
        assert not differences(resumed.pruner.state_dict(), whole.pruner.state_dict())
        assert not differences(resumed.model.state_dict(), whole.model.state_dict())


def test_loading_into_a_running_script_rolls_it_back() -> None:
    whole = Script(RePB(rho=0.5))
    run = whole.run()
    for _ in range(8):
        next(run)
    state = whole.state()
    for _ in run:
        pass
    trail, final = whole.trail[8:], whole.state()
    whole.load(state)
    whole.trail.clear()
    for _ in whole.run():
        pass
    assert whole.trail == trail
    assert not differences(whole.state(), final)


def test_a_batch_fetched_before_a_load_cannot_be_trained_after_it() -> None:
    script = Script(RePB(rho=0.5))
    run = script.run()
    next(run)
    state = script.state()
    batches = iter(script.loader)
    next(batches)
    script.load(state)
    with pytest.raises(StaleBatchError, match="no longer holds"):
        script.pruner.reduce(torch.rand(4))
