"""torch.distributed.checkpoint in one process: a folder gives back what a file would."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faults.conftest import Zygote
from online.found import METHODS as ONLINE
from online.runs import Script as OnlineScript
from small_runs import Script, copied, differences, every_method
from thresher import InfoBatch, Method, OrderDP, Pruner, RePB
from thresher.errors import CheckpointError, NotIteratedError
from thresher.online import OnlineMethod, SelectiveBackprop

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

# One of each class, as it comes: its variants keep the same state.
METHODS: list[Method] = list(
    {type(method): method for method in [*reversed(ONLINE), *reversed(every_method())]}.values()
)


def script(method: Method, **settings: Any) -> Any:
    kind = OnlineScript if isinstance(method, OnlineMethod) else Script
    return kind(method, **settings)  # type: ignore[arg-type]


def all_of(run: Any) -> dict[str, Any]:
    """A run's state as it is, not copied, in the names of its parts."""
    return {
        "pruner": run.pruner.state_dict(),
        "model": run.model.state_dict(),
        "others": {"random": torch.get_rng_state(), "name": "a run", "number": 3, "none": None},
    }


def kinds(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: kinds(value) for name, value in state.items()}
    return type(state)


def moments(method: Method) -> Iterator[tuple[int, Any]]:
    """A run in the middle of its second epoch, and at the end of it."""
    run, was_inside = script(method), False
    for number, _ in enumerate(run.run(), start=1):
        epoch, position = run.pruner.epoch, run.pruner.position
        if (epoch, was_inside) == (1, False) and position:
            was_inside = True
            yield number, run
        elif (epoch, position) == (2, 0):
            yield number, run
            return


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_folder_gives_back_what_a_file_does_in_mid_epoch_and_between_epochs(
    method: Method, tmp_path: Path
) -> None:
    places = []
    for number, run in moments(method):
        places.append(run.pruner.position)
        saved = all_of(run)
        from_file = copied(saved)
        dcp.save(saved, checkpoint_id=tmp_path / f"{number}")
        # Into a run that has not begun, or into one that has come somewhere else.
        other = script(method)
        for _ in islice(other.run(), 0 if run.pruner.position else 4):
            pass
        loaded = all_of(other)
        dcp.load(loaded, checkpoint_id=tmp_path / f"{number}")
        assert not differences(loaded, from_file)
        assert kinds(loaded) == kinds(from_file)
        other.pruner.load_state_dict(loaded["pruner"])
        assert not differences(other.pruner.state_dict(), run.pruner.state_dict())
    assert places[0] > 0
    assert places[1:] == [0]


@pytest.mark.parametrize("method", [RePB(prune_ratio=0.4), SelectiveBackprop()], ids=repr)
def test_a_run_saved_by_its_objects_goes_on_as_the_whole_one(
    method: Method, tmp_path: Path
) -> None:
    """The pruner is handed to dcp itself, as a model would be."""
    whole = script(method)
    others = {}
    for number, run in enumerate(whole.run(), start=1):
        if number in (2, 7, 11):
            dcp.save({"pruner": run.pruner}, checkpoint_id=tmp_path / f"{number}")
            others[number] = run.state()
    assert len(others) == 3
    for number, state in others.items():
        resumed = script(method)
        dcp.load({"pruner": resumed.pruner}, checkpoint_id=tmp_path / f"{number}")
        state["pruner"] = resumed.pruner.state_dict()
        resumed.load(state)
        for _ in resumed.run():
            pass
        assert resumed.trail == whole.trail[number:]
        assert not differences(resumed.state(), whole.state())


def test_a_save_in_the_background_holds_the_moment_it_was_asked_for(
    zygote: Zygote, tmp_path: Path
) -> None:
    death = zygote.run(
        "faults.background:main", tmp_path / "output", folder=str(tmp_path / "saved")
    )
    assert death.code == 0, (tmp_path / "output").read_text()


# ------------------------------------------------------------------------------------- refusals


def refusal(pruner: Pruner, folder: Path) -> BaseException:
    """What loading raises: dcp's own is no Exception."""
    try:
        dcp.load({"pruner": pruner}, checkpoint_id=folder)
    except BaseException as error:
        return error
    raise AssertionError


def built(method: Method, **settings: Any) -> Pruner:
    return Pruner(method, **{"epochs": 5, "num_samples": 20, **settings})


def test_a_folder_of_another_run_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    saved = built(InfoBatch())
    saved.observe(saved.plan(0).ids[:10], torch.rand(10))
    dcp.save({"pruner": saved}, checkpoint_id=tmp_path)
    cases = {
        "OrderDP(": built(OrderDP()),
        "r=0.25": built(InfoBatch(r=0.25)),
        "seed=1": built(InfoBatch(), seed=1),
        "Size mismatch": built(InfoBatch(), num_samples=21),
        "Missing key": built(RePB(rho=0.5)),
    }
    for words, pruner in cases.items():
        before = pruner.state_dict()
        error = refusal(pruner, tmp_path)
        assert words in str(error)
        assert isinstance(error, CheckpointError) == ("=" in words or "(" in words)
        assert not differences(pruner.state_dict(), before)


def test_a_pruner_without_a_data_set_says_that_it_wants_one_first(tmp_path: Path) -> None:
    dcp.save({"pruner": built(InfoBatch())}, checkpoint_id=tmp_path)
    error = refusal(Pruner(InfoBatch(), epochs=5), tmp_path)
    assert isinstance(error, NotIteratedError)
    assert "pruner.wrap(loader) first" in str(error)
