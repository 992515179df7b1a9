"""Ranks with a shard each notice that they are not alike, and only then does nobody wait."""

from __future__ import annotations

import re
import warnings
from itertools import chain
from typing import Any

import pytest
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from contracts.drive import losses
from loops import Numbers
from parallel import shard_jobs
from parallel.processes import succeed
from parallel.shard_jobs import Refused
from small_runs import copied
from thresher import (
    InfoBatch,
    Method,
    OrderDP,
    Pruner,
    RePB,
    starting,
)
from thresher.errors import SettingError
from thresher.online import SelectiveBackprop

SIZE = 24


def unlike(rank: int, change: str) -> None:
    """Train two epochs on ranks of which the last is changed."""
    warnings.filterwarnings("ignore", "Batches of epoch 0 that were fetched but never reduced")
    is_changed = rank == dist.get_world_size() - 1
    changed: dict[str, dict[str, Any]] = {
        "seed": {"seed": 1},
        "always_keep": {"always_keep": [0]},
        "labels": {"min_per_class": 2, "labels": [k // 12 for k in range(SIZE)]},
        "shard": {"shard": False},
    }
    settings: dict[str, Any] = {"epochs": 5, "shard": True}
    settings |= changed.get(change, {}) if is_changed else {}
    method: Method = OrderDP() if is_changed and change == "method" else InfoBatch()
    version, size, batch = starting.__version__, SIZE, 3
    if is_changed:
        size, batch = size + (change == "data set"), batch + (change == "batch size")
    if is_changed and change == "version":
        starting.__version__ = "0.0.0"
    try:
        pruner = Pruner(method, **settings)
    finally:
        data = Numbers(size)
    sampler: Any = DistributedSampler(data)
    plain = DataLoader(data, batch, sampler=sampler, drop_last=is_changed and change == "drop_last")
    try:
        loader: Any = pruner.wrap(plain)
    finally:
        starting.__version__ = version
    if change in ("moment", "checkpoint"):
        states = []
        for ids in chain(loader, loader):
            pruner.reduce((ids + 1).float())
            states.append(copied(pruner.state_dict()))
        state = states[-2 if is_changed and change == "moment" else -3]
        if is_changed and change == "checkpoint":
            clock = state[f"shard {rank} of {dist.get_world_size()}"]["clock"]
            clock["ledger"]["columns"]["loss"][:4] = 100.0
        pruner.load_state_dict(state)
    for _ in range(2):
        for number, ids in enumerate(loader):
            if not (is_changed and change == "a skipped batch" and number == 1):
                pruner.reduce((ids + 1).float())


DIFFERENCES = {
    "seed": "settings (.*seed=0.* on rank.* 0.*; .*seed=1.* on rank ",
    "method": "method (InfoBatch.* on rank.*; OrderDP.* on rank ",
    "version": "version of Thresher (.* on rank.*; 0.0.0 on rank ",
    "data set": "number of samples (24 on rank.*; 25 on rank ",
    "shard": "settings (.*shard=True.* on rank.*; .*shard=False.* on rank ",
    "batch size": "batch size (3 on rank.*; 4 on rank ",
    "drop_last": "full batches only (0 on rank.*; 1 on rank ",
    "always_keep": "protected samples (",
    "labels": "protected samples (",
    "a skipped batch": "batches trained (4 on rank.*; 3 on rank ",
    "moment": "batches when saved (.* on rank 0; .* on rank 1",
}


def asks_alone(rank: int, method: Method) -> list[Any]:
    """Rank 0 asks for lengths, reports and states when the others do not; barriers would hang."""
    table, lengths = losses(SIZE, 4), list[int]()
    pruner, loader = shard_jobs.wrapped(method, SIZE, 3, epochs=4)
    dist.barrier()
    if rank == 0:
        lengths.append(len(loader))
        next(iter(loader))
        pruner.state_dict(), str(pruner.report()), pruner.finished
    dist.barrier()
    for epoch in range(4):
        for ids in loader:
            pruner.reduce(table[epoch][ids])
            if rank == 0:
                pruner.report(), len(loader), pruner.epoch
        dist.barrier()
        if rank == 0:
            pruner.report(), pruner.epoch, pruner.finished
            pruner.state_dict(), lengths.append(len(loader))
        dist.barrier()
        if epoch == 1:
            state = pruner.state_dict()
            pruner, loader = shard_jobs.wrapped(method, SIZE, 3, epochs=4)
            pruner.load_state_dict(state)
            dist.barrier()
            if rank == 0:
                assert (pruner.epoch, len(loader)) == (2, lengths[-1])
            dist.barrier()
    rows = pruner.report().rows
    return [[(row.planned, row.trained) for row in rows], pruner.finished, lengths]


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What two ranks do, in one launch."""
    calls: dict[str, Any] = {change: (unlike, (change,)) for change in [*DIFFERENCES, "checkpoint"]}
    for method in (RePB(prune_ratio=0.3), OrderDP()):
        calls[f"alone {method}"] = asks_alone, (method,)
    return succeed(shard_jobs.all_of, 2, calls)


@pytest.mark.parametrize("change", DIFFERENCES)
def test_every_rank_says_in_what_they_differ(change: str, found: list[dict[str, Any]]) -> None:
    for refused in (each[change] for each in found):
        assert isinstance(refused, Refused), refused
        assert refused.kind == "RanksDisagreeError"
        pattern = DIFFERENCES[change].replace("(", r"\(")
        assert re.search(f"Ranks differ in .*{pattern}", refused.message), refused.message
        assert refused.seconds < 10
    assert len({each[change].message for each in found}) == 1, "all say the same"


def test_a_state_that_does_not_fit_is_refused_on_every_rank(found: list[dict[str, Any]]) -> None:
    """Although only one rank's has other losses."""
    for refused in (each["checkpoint"] for each in found):
        assert refused.kind == "CheckpointError", refused
        assert "plan of epoch 1 cannot be derived again" in refused.message


def test_one_rank_may_ask_for_lengths_reports_and_states_alone(found: list[dict[str, Any]]) -> None:
    for method in (RePB(prune_ratio=0.3), OrderDP()):
        first, second = (each[f"alone {method}"] for each in found)
        assert first[:2] == second[:2]
        assert first[1]
        planned = [row[0] for row in first[0]]
        assert all(trained == planned for planned, trained in first[0])
        assert first[2][0] >= -(-planned[0] // 6)
        assert len(first[2]) == 5


def test_an_online_method_has_nothing_to_shard() -> None:
    with pytest.raises(SettingError, match=r"remembers samples.*leave shard out"):
        Pruner(SelectiveBackprop(), epochs=5, shard=True)
