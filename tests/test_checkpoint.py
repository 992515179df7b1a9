"""What a state is made of, what is refused when it is loaded, and that its files are whole."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from small_runs import Script, data, differences, every_method
from thresher import InfoBatch, Method, OrderDP, Pruner, RandomPruning, RePB
from thresher.checkpoint import load_safely, save_atomically
from thresher.errors import (
    CheckpointError,
    DatasetChangedError,
    SettingError,
    ThresherError,
    ThresherWarning,
)

METHODS = every_method()
N = 20


def trained(pruner: Pruner, calls: int = 3) -> Pruner:
    """Observe `calls` micro-batches of 10 samples, over as many epochs as they fill."""
    for call in range(calls):
        plan = pruner.plan(pruner.epoch)
        ids = plan.ids[pruner.position :][:10]
        pruner.observe(ids, torch.frac((ids + call) * 0.618034).float())
    return pruner


def built(method: Method | None = None, **settings: Any) -> Pruner:
    settings = {"epochs": 5, "num_samples": N, **settings}
    return Pruner(method or InfoBatch(), **settings)


def leaves(state: Any, path: str = "") -> dict[str, Any]:
    """Every value of a nested state by its path."""
    if isinstance(state, dict):
        assert all(isinstance(key, str) for key in state)
        found = {}
        for key, value in state.items():
            found.update(leaves(value, f"{path}/{key}"))
        return found
    return {path: state}


# ------------------------------------------------------------------------- what a state is made of


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


# ------------------------------------------------------------------------------------ refusals


def test_a_state_of_another_method_is_refused() -> None:
    state = trained(built(InfoBatch())).state_dict()
    with pytest.raises(CheckpointError, match=r"is of InfoBatch\(.*expected: OrderDP\("):
        built(OrderDP()).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"is of InfoBatch\(.*r=0\.5.*expected.*r=0\.25"):
        built(InfoBatch(r=0.25)).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed=0; expected: seed=1"),
        ({"epochs": 9}, "epochs=5; expected: epochs=9"),
        ({"accumulation_steps": 2}, "accumulation_steps=1; expected: accumulation_steps=2"),
        ({"step_exponent": 0.5}, "step_exponent=None; expected: step_exponent=0.5"),
        ({"seed": 3, "epochs": 7}, "epochs=5, seed=0; expected: epochs=7, seed=3"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_state_of_a_run_with_other_settings_is_refused_by_their_names(
    change: dict[str, Any], message: str
) -> None:
    state = trained(built()).state_dict()
    with pytest.raises(CheckpointError, match=message):
        built(**change).load_state_dict(state)


def test_a_state_of_a_data_set_of_another_length_is_refused() -> None:
    state = trained(built()).state_dict()
    with pytest.raises(DatasetChangedError, match=r"20 samples; expected: 21"):
        built(num_samples=21).load_state_dict(state)
    pruner = Pruner(InfoBatch(), epochs=5)
    pruner.load_state_dict(state)
    with pytest.raises(DatasetChangedError, match=r"22 samples; expected: 20"):
        pruner.wrap(DataLoader(data(22), 4, shuffle=True))


@pytest.mark.parametrize("order", ["load after wrap", "wrap after load"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_state_of_a_loader_in_another_order_is_refused(order: str, shuffle: bool) -> None:
    saved = Script(RePB(rho=0.5), shuffle=not shuffle)
    next(saved.run())
    pruner = Pruner(RePB(rho=0.5), epochs=5)
    plain = DataLoader(data(), 4, shuffle=shuffle)
    if order == "load after wrap":
        loader = pruner.wrap(plain)
        with pytest.raises(SettingError, match=f"shuffle={shuffle}, and now shuffle={not shuffle}"):
            pruner.load_state_dict(saved.pruner.state_dict())
        assert pruner.epoch == 0
        assert sum(len(x) for x, _ in loader_without_warning(loader)) == 22
    else:
        pruner.load_state_dict(saved.pruner.state_dict())
        loader = pruner.wrap(plain)
        with pytest.raises(CheckpointError, match="loader order"):
            iter(loader)


def loader_without_warning(loader: Any) -> list[Any]:
    batches = iter(loader)
    return [next(batches) for _ in range(len(loader))]


def test_a_state_of_another_format_is_refused() -> None:
    state = trained(built()).state_dict()
    with pytest.raises(CheckpointError, match="format 99; expected: format 1"):
        built().load_state_dict({**state, "format": 99})
    with pytest.raises(CheckpointError, match="format None; expected: format 1"):
        built().load_state_dict({"model": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"lacks settings, clock.*Save all"):
        built().load_state_dict({k: v for k, v in state.items() if k not in ("settings", "clock")})


@pytest.mark.parametrize("change", [{"always_keep": range(12)}, {"always_keep": [0]}])
def test_a_plan_that_cannot_be_derived_again_is_refused_as_often_as_it_is_asked_for(
    change: dict[str, Any],
) -> None:
    saved = trained(built(RandomPruning(prune_ratio=0.8)), 3)
    kept = saved.plan(saved.epoch).ids.tolist()
    if 0 in kept:  # then keeping it changes no id, only a weight
        assert change == {"always_keep": [0]} or not set(range(12)) <= set(kept)
    pruner = built(RandomPruning(prune_ratio=0.8), **change)
    pruner.load_state_dict(saved.state_dict())
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"cannot be derived again.*protected samples"):
            pruner.plan(saved.epoch)
    with pytest.raises(CheckpointError, match="cannot be derived again"):
        pruner.state_dict()


@pytest.mark.parametrize("method", [InfoBatch(), RePB(rho=0.5)], ids=lambda m: type(m).__name__)
def test_a_refused_state_leaves_the_pruner_as_it_was(method: Method) -> None:
    state = trained(built(method, seed=1)).state_dict()
    pruner = trained(built(method), 2)
    before = pruner.state_dict()
    with pytest.raises(ThresherError):
        pruner.load_state_dict(state)
    assert not differences(pruner.state_dict(), before)
    assert pruner.plan(pruner.epoch).epoch == pruner.epoch


# ---------------------------------------------------------------------------------------- files


def test_a_file_restores_the_state_it_was_saved_from(tmp_path: Path) -> None:
    pruner = trained(built())
    pruner.save(str(tmp_path / "state.pt"))
    loaded = built()
    loaded.load(tmp_path / "state.pt")
    assert not differences(loaded.state_dict(), pruner.state_dict())
    assert isinstance(torch.load(tmp_path / "state.pt", weights_only=True), Mapping)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_file_has_the_rights_that_the_umask_gives_and_follows_a_link(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        built().save(tmp_path / "state.pt")
    finally:
        os.umask(before)
    assert (tmp_path / "state.pt").stat().st_mode & 0o777 == 0o640
    (tmp_path / "real").mkdir()
    (tmp_path / "last").symlink_to(tmp_path / "real" / "epoch-1")
    trained(built()).save(tmp_path / "last")
    assert (tmp_path / "last").is_symlink()
    built().load(tmp_path / "real" / "epoch-1")


def test_a_file_cut_anywhere_is_refused_with_its_name(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "cut.pt"
    trained(built()).save(whole)
    content = whole.read_bytes()
    cuts = {0, 1, 2, 3, 4, len(content) - 1, *range(0, len(content), 61)}
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match=r"cut\.pt cannot be read.*older checkpoint"):
            built().load(path)


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 500, b"hello, this is no checkpoint\n" * 9, b"PK\x03\x04" + b"\x11" * 300, b"\x80"],
    ids=["zeros", "text", "half a zip", "half a pickle"],
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="garbage cannot be read"):
        built().load(path)


class Exploding:
    """A pickle of it runs code when it is loaded without weights_only."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_a_file_that_would_run_code_is_refused_without_running_it(tmp_path: Path) -> None:
    path, made = tmp_path / "bad.pt", tmp_path / "made"
    torch.save({"format": Exploding(made)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        built().load(path)
    assert not made.exists()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        built().load(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="format None"):
        built().load(path)


def test_a_missing_file_or_folder_is_said_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        built().load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"):
        built().save(tmp_path / "absent" / "state.pt")


def test_an_error_while_saving_leaves_the_old_file_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    pruner = trained(built())
    pruner.save(path)
    old = path.read_bytes()
    with pytest.raises((TypeError, AttributeError), match=r"pickle|local"):
        save_atomically({"fault": lambda: None}, path)
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["state.pt"]
    assert not differences(load_safely(path), pruner.state_dict())


def test_states_are_equal_after_a_file_and_after_a_buffer() -> None:
    state = trained(built()).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    assert not differences(torch.load(buffer, weights_only=True), state)
