"""Ranks with a shard each save and go on as if they had never stopped, each or all together."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from parallel import shard_jobs
from parallel.processes import succeed
from small_runs import differences
from thresher import KAKURENBO, InfoBatch, Method, Omission, RePB, Subset
from thresher.errors import CheckpointError

SIZE, BATCH, EPOCHS = 45, 4, 4
METHODS: list[Method] = [
    RePB(rho=0.5, window=2),
    InfoBatch(),
    Omission(prune_ratio=0.3, warmup_epochs=1),
]
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


@pytest.fixture(scope="module")
def on_four(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What four ranks make of states that were saved on two."""
    given, middle = (SIZE, 2, EPOCHS), state(found, METHODS[0], 9)
    calls = {
        repr(method): call("continues", method, *given, state(found, method, 6), {})
        for method in METHODS
    }
    calls["middle"] = call("continues", METHODS[0], *given, middle, {})
    calls["cut anew"] = call("continues", METHODS[0], *given, middle, {"resplit": True})
    own = found[1][repr(METHODS[0])][1][0]["own"]
    calls["another shard"] = call("continues", METHODS[0], *given, own, {})
    return succeed(shard_jobs.all_of, 4, calls)


def trained(ranks: list[Any], epoch: int) -> list[int]:
    """Whose losses counted in an epoch, on all ranks."""
    steps = [step for _, trail, _ in ranks for step in trail if step[0] == epoch]
    return [
        id_ for _, ids, shares in steps for id_, share in zip(ids, shares, strict=True) if share
    ]


@pytest.mark.parametrize("world_size", [1, 4])
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.filterwarnings("ignore:KAKURENBO wants samples")
def test_from_the_end_of_an_epoch_a_run_goes_on_on_another_number_of_ranks(
    method: Method,
    world_size: int,
    found: list[dict[str, Any]],
    on_four: list[dict[str, Any]],
) -> None:
    """Its plan, which these shards would not make, comes with the state."""
    if world_size == 1:
        saved = state(found, method, 6)
        ranks = [shard_jobs.continues(0, method, SIZE, 8, EPOCHS, saved, {})]
    else:
        ranks = [each[repr(method)] for each in on_four]
    before = [each[repr(method)][0] for each in found]
    assert [step[0] for step in before[0]].count(0) == 6, "the state is of the end of epoch 0"
    for begun, trail, rows in ranks:
        assert begun == 1
        assert {step[0] for step in trail} == {1, 2, 3}
        assert [row.epoch for row in rows] == [0, 1, 2, 3]
        assert rows[0].trained == SIZE
        assert all(row.trained == row.planned for row in rows)
    for epoch in (1, 2, 3):
        ids = trained(ranks, epoch)
        assert len(set(ids)) == len(ids) == ranks[0][2][epoch].planned
        if isinstance(method, KAKURENBO):
            assert sorted(ids) == sorted(trained([(0, trail, ()) for trail in before], epoch))
            assert len(ids) < SIZE


def test_in_the_middle_of_an_epoch_other_ranks_are_refused_unless_told_to_cut_anew(
    found: list[dict[str, Any]], on_four: list[dict[str, Any]]
) -> None:
    middle = state(found, METHODS[0], 9)["clock"]
    done = set((middle["progress"]["step"] >= 0).nonzero().flatten().tolist())
    planned = set((~middle["planned"]["weights"].isnan()).nonzero().flatten().tolist())
    for refused in (each["middle"] for each in on_four):
        assert refused.kind == "CheckpointError"
        assert "batches of 8 samples over 2 ranks; expected: batches of 8 over 4" in refused.message
        assert "resplit=True" in refused.message
    ranks = [each["cut anew"] for each in on_four]
    assert sorted(trained(ranks, 1)) == sorted(planned - done)
    assert done
    assert len({len(trail) for _, trail, _ in ranks}) == 1
    assert ranks[0][2][1].trained == ranks[0][2][1].planned == len(planned)


def test_the_shard_of_another_rank_is_refused_by_name(
    found: list[dict[str, Any]], on_four: list[dict[str, Any]]
) -> None:
    own = found[1][repr(METHODS[0])][1][0]["own"]
    with pytest.raises(CheckpointError, match=r"shard 1 of 2; expected: all samples.*gather=True"):
        shard_jobs.continues(0, METHODS[0], SIZE, 8, EPOCHS, own, {})
    for rank, each in enumerate(on_four):
        refused = each["another shard"]
        assert refused.kind == "CheckpointError"
        assert f"of shard 1 of 2; expected: shard {rank} of 4, as this rank has" in refused.message
