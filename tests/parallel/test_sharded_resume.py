"""Ranks with a shard each save and go on as if they had never stopped, each or all together."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from parallel import shard_jobs
from parallel.processes import Raised, on_ranks, succeed
from small_runs import differences
from thresher import InfoBatch, Method, Omission, RePB, Subset
from thresher.errors import CheckpointError

SIZE, BATCH, EPOCHS = 45, 4, 4
METHODS: list[Method] = [RePB(rho=0.5, window=2), InfoBatch(), Omission(prune_ratio=0.4)]
STOPS = [1, 6, 9]
"""Micro-batches: in and at the end of an epoch of 45 samples, and in the next."""


def call(name: str, *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return getattr(shard_jobs, name), arguments


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every method's runs on two ranks, and those of shards that have next to nothing."""
    folder = str(tmp_path_factory.mktemp("saved"))
    given = (SIZE, BATCH, EPOCHS, STOPS, folder)
    calls = {repr(method): call("resumes", method, *given) for method in METHODS}
    few = Subset([0, 2, 4, 6, 8, 10, 13])
    calls["few"] = call("resumes", few, 14, 2, 3, [1, 3], folder)
    return succeed(shard_jobs.all_of, 2, calls)


@pytest.mark.parametrize("name", [*map(repr, METHODS), "few"])
@pytest.mark.parametrize("kind", ["own", "whole", "dcp"])
def test_a_resumed_run_trains_what_the_whole_one_does(
    name: str, kind: str, found: list[dict[str, Any]]
) -> None:
    """Each rank from its own file, from a state of all samples, and from dcp's folder."""
    for each in found:
        whole, *resumed = each[name]
        stops = [1, 3] if name == "few" else STOPS
        for stop, (_, rests) in zip(stops, resumed, strict=True):
            assert rests[kind] == whole[stop:]
            assert len(rests[kind]) > 0


def test_a_state_of_all_samples_is_the_same_on_every_rank_and_laid_out_by_id(
    found: list[dict[str, Any]],
) -> None:
    for method, k in itertools.product(METHODS, range(len(STOPS))):
        (first, _), (second, _) = (each[repr(method)][1 + k] for each in found)
        assert not differences(first["whole"], second["whole"])
        whole = first["whole"]["clock"]
        parts = [
            states["own"][f"shard {r} of 2"]["clock"] for r, states in enumerate((first, second))
        ]
        for r, own in enumerate(parts):
            for name, column in own["ledger"]["columns"].items():
                both = whole["ledger"]["columns"][name]
                assert len(both) == SIZE
                torch.testing.assert_close(both[r::2], column, equal_nan=True)
            assert torch.equal(whole["progress"]["step"][r::2], own["progress"]["step"])
            assert len(own["progress"]["step"]) == len(range(r, SIZE, 2)), "only of its own"
        planned = ~whole["planned"]["weights"].isnan()
        assert bool(planned[whole["progress"]["step"] >= 0].all())


def state(found: list[dict[str, Any]], method: Method, stop: int) -> Any:
    return found[0][repr(method)][1 + STOPS.index(stop)][0]["whole"]


@pytest.mark.parametrize("world_size", [1, 4])
def test_from_the_end_of_an_epoch_a_run_goes_on_on_another_number_of_ranks(
    world_size: int, found: list[dict[str, Any]]
) -> None:
    """What it learns of that epoch is what it would have, so a rule of fixed size keeps as many."""
    given = {
        repr(method): call(
            "continues", method, SIZE, 8 // world_size, EPOCHS, state(found, method, 6), {}
        )
        for method in METHODS
    }
    if world_size == 1:
        ranks = [{name: job(0, *arguments) for name, (job, arguments) in given.items()}]
    else:
        ranks = succeed(shard_jobs.all_of, world_size, given)
    for method in METHODS:
        whole = [step[0] for step in found[0][repr(method)][0]]
        assert whole.count(0) == 6, "the state is of the end of epoch 0"
        for each in ranks:
            begun, trail, rows = each[repr(method)]
            assert begun == 1
            assert {step[0] for step in trail} == {1, 2, 3}
            assert [row.epoch for row in rows] == [0, 1, 2, 3]
            assert rows[0].trained == SIZE
            assert all(row.trained == row.planned for row in rows)
        for epoch in (1, 2, 3):
            ids = [
                id_
                for each in ranks
                for step in each[repr(method)][1]
                if step[0] == epoch
                for id_ in step[1]
            ]
            assert len(set(ids)) == len(ids) == ranks[0][repr(method)][2][epoch].planned


def test_in_the_middle_of_an_epoch_other_ranks_are_refused_unless_told_to_cut_anew(
    found: list[dict[str, Any]],
) -> None:
    method = METHODS[0]
    middle = state(found, method, 9)
    done = {int(id_) for id_ in (middle["clock"]["progress"]["step"] >= 0).nonzero()}
    planned = {int(id_) for id_ in (~middle["clock"]["planned"]["weights"].isnan()).nonzero()}
    given = (method, SIZE, 2, EPOCHS, middle)
    for each in on_ranks(shard_jobs.continues, 4, *given, {}):
        assert isinstance(each, Raised)
        assert each.kind == "CheckpointError"
        assert "batches of 8 samples over 2 ranks" in each.message
        assert "expected: batches of 8 over 4" in each.message
        assert "resplit=True" in each.message
    ranks = succeed(shard_jobs.continues, 4, *given, {"resplit": True})
    left = [id_ for each in ranks for step in each[1] if step[0] == 1 for id_ in step[1]]
    assert sorted(set(left) & planned) == sorted(planned - done)
    assert len(left) - len(set(left) & planned) <= 2, "samples that only fill a step"
    assert ranks[0][2][1].trained == ranks[0][2][1].planned == len(planned)


def test_the_shard_of_another_rank_is_refused_by_name(found: list[dict[str, Any]]) -> None:
    own = found[1][repr(METHODS[0])][1][0]["own"]
    given = (METHODS[0], SIZE, 4, EPOCHS, own, {})
    with pytest.raises(CheckpointError, match=r"shard 1 of 2; expected: all samples.*gather=True"):
        shard_jobs.continues(0, *given)
    for rank, each in enumerate(on_ranks(shard_jobs.continues, 3, *given)):
        assert isinstance(each, Raised)
        assert each.kind == "CheckpointError"
        assert f"of shard 1 of 2; expected: shard {rank} of 3, as this rank has" in each.message
