"""What a state is made of: tensors and scalars of fixed names and shapes, a snapshot of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from partly_trained import N, built, trained
from small_runs import Script, data, differences, every_method
from thresher import Method, Pruner, RePB
from thresher.errors import ThresherWarning

METHODS = every_method()


def leaves(state: Any, path: str = "") -> dict[str, Any]:
    """Every value of a nested state by its path."""
    if isinstance(state, dict):
        assert all(isinstance(key, str) for key in state)
        found = {}
        for key, value in state.items():
            found.update(leaves(value, f"{path}/{key}"))
        return found
    return {path: state}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_state_is_tensors_and_scalars_whose_names_and_shapes_never_change(
    method: Method,
) -> None:
    script = Script(method)
    shapes = []
    for state in (script.state(), *(s.state() for s in script.run())):
        flat = leaves(state["pruner"])
        assert flat
        for path, value in flat.items():
            assert type(value) in (Tensor, int, float, str, bool, type(None)), path
        shapes.append({k: v.shape if isinstance(v, Tensor) else type(v) for k, v in flat.items()})
    assert len(shapes) > 10
    assert all(shape == shapes[0] for shape in shapes)


def test_pending_scores_are_saved_by_sample_id_with_nan_for_unseen() -> None:
    pruner = built()
    plan = pruner.plan(0)
    pruner.observe(plan.ids[:3], torch.tensor([1.0, torch.nan, 3.0]))
    progress = pruner.state_dict()["clock"]["progress"]
    scores, step = progress["scores"]["loss"], progress["step"]
    assert scores.shape == step.shape == (N,)
    assert scores[plan.ids[0]] == 1
    assert scores[plan.ids[1]] == torch.inf  # seen, and broken
    assert scores[plan.ids[2]] == 3
    assert scores.isnan().sum() == N - 3
    assert (step[plan.ids[:3]] == 0).all()
    assert (step == -1).sum() == N - 3


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_state_is_a_snapshot_that_later_training_does_not_change(method: Method) -> None:
    script = Script(method)
    run = script.run()
    for _ in range(8):
        next(run)
    state = script.pruner.state_dict()
    before = {k: v.clone() if isinstance(v, Tensor) else v for k, v in leaves(state).items()}
    for _ in run:
        pass
    assert not differences(leaves(state), before)
    assert differences(script.pruner.state_dict(), state)


def test_a_loaded_state_is_not_changed_by_training_either() -> None:
    for method in METHODS:
        script = Script(method)
        run = script.run()
        for _ in range(8):
            next(run)
        state = script.pruner.state_dict()
        before = {k: v.clone() if isinstance(v, Tensor) else v for k, v in leaves(state).items()}
        script.pruner.load_state_dict(state)
        for _ in script.run():
            pass
        assert not differences(leaves(state), before)


def test_saving_and_reporting_close_nothing_and_change_nothing() -> None:
    quiet = Script(RePB(rho=0.7))
    for _ in quiet.run():
        pass
    watched = Script(RePB(rho=0.7))
    for script in watched.run():
        script.pruner.state_dict()
        script.pruner.report()
        assert script.pruner.state_dict()["clock"]["epoch"] == script.trail[-1][0]
    assert watched.trail == quiet.trail
    assert not differences(watched.state(), quiet.state())


def test_pruner_follows_the_stateful_protocol_and_loads_in_place(tmp_path: Path) -> None:
    checkpoint = pytest.importorskip("torch.distributed.checkpoint")
    stateful = pytest.importorskip("torch.distributed.checkpoint.stateful").Stateful
    for method in METHODS:
        saved = Script(method)
        run = saved.run()
        for _ in range(9):
            next(run)
        assert isinstance(saved.pruner, stateful)
        folder = tmp_path / f"{METHODS.index(method)}"
        with pytest.warns(UserWarning, match="assuming the intent is to save in a single process"):
            checkpoint.save({"pruner": saved.pruner}, checkpoint_id=folder)
        resumed = Script(method)
        with pytest.warns(UserWarning, match="assuming the intent is to load in a single process"):
            checkpoint.load({"pruner": resumed.pruner}, checkpoint_id=folder)
        assert not differences(resumed.pruner.state_dict(), saved.pruner.state_dict())


def test_a_report_is_the_same_after_a_load(tmp_path: Path) -> None:
    for calls in (1, 2, 3, 4):
        pruner = trained(built(), calls)
        pruner.save(tmp_path / "state")
        loaded = built()
        loaded.load(tmp_path / "state")
        ours, theirs = loaded.report(), pruner.report()
        assert (ours.trained, ours.planned, ours.prune_rate) == (
            theirs.trained,
            theirs.planned,
            theirs.prune_rate,
        )
        assert [row.epoch for row in ours.rows] == [row.epoch for row in theirs.rows]


def test_batches_skipped_before_a_save_are_still_reported_after_it() -> None:
    pruner = Pruner(RePB(rho=0.5), epochs=5)
    loader = pruner.wrap(DataLoader(data(), 4, shuffle=True))
    batches = iter(loader)
    pruner.reduce(next(batches)[0].square().sum(1))
    next(batches), next(batches)
    batch = next(batches)[0]
    with pytest.warns(ThresherWarning, match="never reduced"):
        pruner.reduce(batch.square().sum(1))
    state = pruner.state_dict()
    resumed = Pruner(RePB(rho=0.5), epochs=5)
    resumed.load_state_dict(state)
    assert resumed.report().rows[0].skipped_batches == 2
    assert any("never reduced" in note and "2" in note for note in resumed.report().notes)
