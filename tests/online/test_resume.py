"""An online run killed anywhere and resumed is the run that was never killed, to the bit."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import DataLoader

from online.found import CLASSES, short
from online.found import METHODS as EVERY
from online.runs import Script, train, wrapped
from small_runs import copied, differences
from thresher import Pruner
from thresher.errors import CheckpointError, NotIteratedError, SettingError, StaleBatchError
from thresher.online import (
    ExtraForwardBernoulli,
    ImportanceSampling,
    OnlineMethod,
    OrderedTopQ,
    SelectiveBackprop,
)

LISTED: list[OnlineMethod] = [
    SelectiveBackprop(history=9),
    SelectiveBackprop(rule="composer", interrupt=2, prune_ratio=0.3),
    ImportanceSampling(tau_th=1.05, decay=0.5),
    ImportanceSampling(tau_th=0, candidates=3),
    ExtraForwardBernoulli(prune_ratio=0.4),
    OrderedTopQ(warmup_epochs=1, delta=0.75),
]
METHODS = [*LISTED, *(kind() for kind in set(CLASSES) - {type(method) for method in LISTED})]
TWO = [METHODS[0], METHODS[2]]
SETTINGS: list[dict[str, Any]] = [
    {"accumulation_steps": 3},
    {"shuffle": False},
    {"step_exponent": 0.5},
]


def assert_survives_being_killed_after_every_micro_batch(
    method: OnlineMethod, **settings: Any
) -> None:
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


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_a_run_killed_after_every_micro_batch_ends_as_the_whole_one(method: OnlineMethod) -> None:
    assert_survives_being_killed_after_every_micro_batch(method)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s))
@pytest.mark.parametrize("method", TWO, ids=short)
def test_so_does_a_run_with_other_settings(method: OnlineMethod, settings: dict[str, Any]) -> None:
    assert_survives_being_killed_after_every_micro_batch(method, **settings)


@pytest.mark.parametrize("method", TWO, ids=short)
def test_samples_wait_at_some_of_these_moments(method: OnlineMethod) -> None:
    """Else the tests above say nothing about a queue."""
    columns = [
        script.pruner.state_dict()["clock"]["ledger"]["columns"]["queue"]
        for script in Script(method).run()
    ]
    assert max(int((column > 0).sum()) for column in columns) > 0


@pytest.mark.parametrize("method", TWO, ids=short)
def test_a_run_with_workers_resumes_in_the_middle_and_at_the_end_of_an_epoch(
    method: OnlineMethod,
) -> None:
    settings: dict[str, Any] = {"num_workers": 1, "epochs": 2, "num_samples": 18}
    whole = Script(method, **settings)
    states = [script.state() for script in whole.run()]
    assert whole.trail == trail_of(Script(method, **{**settings, "num_workers": 0}))
    for cursor in (1, len(states) // 2):
        resumed = Script(method, **settings)
        resumed.load(states[cursor - 1])
        for _ in resumed.run():
            pass
        assert resumed.trail == whole.trail[cursor:]
        assert not differences(resumed.state(), whole.state())


def trail_of(script: Script) -> list[tuple[Any, ...]]:
    for _ in script.run():
        pass
    return script.trail


def leaves(state: Any, path: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        pairs = (leaves(value, f"{path}/{key}").items() for key, value in state.items())
        return dict(itertools.chain.from_iterable(pairs))
    return {path: state}


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_a_state_is_tensors_and_scalars_whose_names_and_shapes_never_change(
    method: OnlineMethod,
) -> None:
    script = Script(method)
    shapes = []
    for state in (script.state(), *(each.state() for each in script.run())):
        flat = leaves(state["pruner"])
        for path, value in flat.items():
            assert type(value) in (Tensor, int, float, str, bool, type(None)), path
        shapes.append({k: v.shape if isinstance(v, Tensor) else type(v) for k, v in flat.items()})
    assert len(shapes) > 8
    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.parametrize("method", EVERY, ids=short)
def test_a_state_saved_between_fetch_and_reduce_resumes_at_that_batch(method: OnlineMethod) -> None:
    whole = wrapped(method)
    states, trained = [], []
    pruner, loader, scores = whole
    for _ in range(3):
        for batch in loader:
            states.append((len(trained), scores.time, copied(pruner.state_dict())))
            pruner.reduce(batch.float() + 1)
            scores.time += 1
            trained.append(batch.tolist())
    for count, time, state in states[1 :: max(1, len(states) // 3)]:
        other, others, their = wrapped(method)
        their.time = time
        other.load_state_dict(state)
        again = []
        while len(again) < len(trained) - count:
            again += train(other, others, their)
        assert again[: len(trained) - count] == trained[count:]


def test_what_is_loaded_in_the_middle_of_a_run_rolls_it_back() -> None:
    pruner, loader, scores = wrapped(SelectiveBackprop())
    train(pruner, loader, scores)
    state, time = pruner.state_dict(), scores.time
    first = [train(pruner, loader, scores) for _ in range(2)]
    batches = iter(loader)
    stale = next(batches)
    pruner.load_state_dict(state)
    scores.time = time
    with pytest.raises(StaleBatchError, match="no longer holds"):
        pruner.reduce(stale.float())
    del batches
    assert [train(pruner, loader, scores) for _ in range(2)] == first


def test_a_run_of_another_batch_size_is_refused() -> None:
    pruner, loader, scores = wrapped(OrderedTopQ())
    train(pruner, itertools.islice(loader, 2))
    state = pruner.state_dict()
    other, _, _ = wrapped(OrderedTopQ(), batch_size=5)
    with pytest.raises(SettingError, match="batches of 5 samples, and now of 4"):
        other.load_state_dict(state)
    another = Pruner(OrderedTopQ(), epochs=6)
    another.load_state_dict(state)
    plain = DataLoader(loader.dataset, 5, shuffle=True)
    with pytest.raises(CheckpointError, match="cannot be derived again"):
        len(another.wrap(plain, score_fn=scores))


def test_the_epoch_is_known_after_a_load_and_before_wrap() -> None:
    pruner, loader, _ = wrapped(OrderedTopQ())
    train(pruner, loader)
    train(pruner, itertools.islice(loader, 2))
    other = Pruner(OrderedTopQ(), epochs=6)
    assert other.epoch == 0
    with pytest.raises(NotIteratedError):
        other.state_dict()
    other.load_state_dict(pruner.state_dict())
    assert other.epoch == 1
    assert not differences(other.state_dict(), pruner.state_dict())
