"""A rank that dies, or says nothing, or whose disk is full: the others never wait for ever."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from contracts.drive import losses
from loops import Numbers
from parallel import jobs
from parallel.processes import on_ranks, succeed
from thresher import InfoBatch, Method, Pruner
from thresher.errors import CheckpointError
from thresher.online import SelectiveBackprop
from thresher.parallel.exchange import Exchange

SIZE, BATCH, EPOCHS, WORLD_SIZE = 45, 4, 4, 4


def train(method: Method) -> None:
    pruner, data = Pruner(method, epochs=EPOCHS), Numbers(SIZE)
    plain = DataLoader(data, BATCH, sampler=DistributedSampler(data))
    loader: Any = pruner.wrap(plain, score_fn=lambda ids: {"loss": (ids + 1) / SIZE})
    for _ in range(EPOCHS):
        for ids in loader:
            pruner.reduce((ids + 1) / SIZE)


def dies(rank: int, method: Method, exchange: int) -> None:
    """Rank 2 is killed when it is about to take part in an exchange for the n-th time."""
    if rank == 2:
        gather, left = Exchange.gather, [None] * exchange

        def fatal(self: Exchange, values: Any) -> Any:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left.pop()
            return gather(self, values)

        Exchange.gather = fatal  # type: ignore[method-assign]
    train(method)


@pytest.mark.parametrize(
    ("method", "exchange"),
    [(InfoBatch(), 0), (InfoBatch(), 1), (InfoBatch(), 2), (SelectiveBackprop(), 3)],
    ids=["opening", "comparing", "scores", "standings"],
)
def test_when_a_rank_dies_in_an_exchange_the_others_end_with_an_error(
    method: Method, exchange: int
) -> None:
    found = on_ranks(dies, WORLD_SIZE, method, exchange)  # which waits for a minute at most
    assert [each.kind for each in found] == ["RuntimeError"] * 2 + ["EOFError", "RuntimeError"]
    for each in found[:2] + found[3:]:
        assert "onnection" in each.message
        assert "exchange.py" in each.trace


def falls_silent(rank: int, store: str) -> str:
    """Rank 2 sleeps for longer than the process group waits, in the middle of an epoch."""
    dist.destroy_process_group()
    options = {"rank": rank, "world_size": WORLD_SIZE, "timeout": timedelta(seconds=2)}
    dist.init_process_group("gloo", init_method=f"file://{store}", **options)
    dist.barrier()
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    try:
        for step, ids in enumerate(loader):
            if rank == 2 and step == 2:
                time.sleep(4)
            pruner.reduce((ids + 1).float())
    except RuntimeError as error:
        return str(error)
    return "nothing"


def test_when_a_rank_falls_silent_the_others_wait_as_long_as_the_group_says(tmp_path: Path) -> None:
    found = succeed(falls_silent, WORLD_SIZE, str(tmp_path / "store"))
    assert "nothing" not in found, "the late one finds that the others have gone"
    assert any("imed out" in message for message in found)


def fills_up(rank: int, folder: str, limit: int) -> list[Any]:
    """Each rank saves a file of its own at each epoch's end; rank 2 has no place for the third."""
    table, tried = losses(SIZE, EPOCHS), list[str]()
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    path, plans, saved = Path(folder) / f"rank{rank}.pt", list[jobs.Digest](), b""
    for epoch in range(EPOCHS):
        for ids in loader:
            pruner.reduce(table[epoch][ids])
        plans.append(jobs.digest(pruner.plan(epoch)))
        is_full = rank == 2 and epoch == 2
        if is_full:
            saved = path.read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            pruner.save(path)
        except OSError as error:
            tried.append(f"{errno.errorcode[error.errno or 0]} {Path(error.filename).name}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        if is_full:
            assert path.read_bytes() == saved
    again, _ = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    again.load(path)
    return [tried, plans, again.epoch]


def test_a_full_disk_on_one_rank_stops_that_save_and_nobody(tmp_path: Path) -> None:
    found = succeed(fills_up, WORLD_SIZE, str(tmp_path), 3000)
    assert [tried for tried, _, _ in found] == [[], [], ["EFBIG rank2.pt"], []]
    assert all(plans == found[0][1] for _, plans, _ in found)
    assert [epoch for _, _, epoch in found] == [EPOCHS] * 4
    left = sorted(each.name for each in tmp_path.iterdir())
    assert left == [f"rank{rank}.pt" for rank in range(WORLD_SIZE)], "no drafts"


def saves_in_the_middle(rank: int, folder: str) -> list[Any]:
    """Gather on every rank, and write on one, whose disk is full the first time."""
    table, tried, plans = losses(SIZE, EPOCHS), list[str](), list[jobs.Digest]()
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    path = Path(folder) / "run.pt"
    for epoch in range(EPOCHS):
        for step, ids in enumerate(loader):
            pruner.reduce(table[epoch][ids])
            if step != 0 or epoch not in (1, 2):
                continue
            state = pruner.state_dict(gather=True)
            if rank == 0:
                limit = 2000 if epoch == 1 else resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                try:
                    pruner.save(path)  # gathered a moment ago, and so whole
                except OSError:
                    tried.append(f"full in epoch {epoch}")
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            assert state["clock"]["ranks"]["is_whole"]
        plans.append(jobs.digest(pruner.plan(epoch)))
    return [tried, plans]


def resumes(rank: int, folder: str) -> list[jobs.Digest]:
    table, plans = losses(SIZE, EPOCHS), list[jobs.Digest]()
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    pruner.load(Path(folder) / "run.pt")
    for epoch in range(pruner.epoch, EPOCHS):
        for ids in loader:
            pruner.reduce(table[epoch][ids])
        plans.append(jobs.digest(pruner.plan(epoch)))
    return plans


def test_the_rank_that_writes_may_find_its_disk_full_and_write_the_next_state(
    tmp_path: Path,
) -> None:
    found = succeed(saves_in_the_middle, WORLD_SIZE, str(tmp_path))
    assert [tried for tried, _ in found] == [["full in epoch 1"], [], [], []]
    assert all(plans == found[0][1] for _, plans in found)
    for plans in succeed(resumes, WORLD_SIZE, str(tmp_path)):
        assert plans == found[0][1][2:]


def saves_alone(rank: int, folder: str) -> list[Any]:
    """Rank 0 saves at the end of an epoch, and in the middle of the next without the others."""
    table, told = losses(SIZE, EPOCHS), list[str]()
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, BATCH, epochs=EPOCHS)
    path = Path(folder) / "run.pt"
    warnings.filterwarnings("ignore", r"state_dict\(\) in the middle of epoch")
    for epoch in range(2):
        for ids in loader:
            pruner.reduce(table[epoch][ids])
            if rank == 0 and epoch == 1 and not told:
                before = path.read_bytes()
                with pytest.raises(CheckpointError) as caught:
                    pruner.save(path)
                assert path.read_bytes() == before
                told.append(str(caught.value))
        if rank == 0 and epoch == 0:
            pruner.save(path)
    return told


def test_a_file_that_could_not_be_loaded_does_not_replace_one_that_can(tmp_path: Path) -> None:
    (told,), *others = succeed(saves_alone, WORLD_SIZE, str(tmp_path))
    assert "one of 4 ranks has trained" in told
    assert "pruner.state_dict(gather=True) on every rank" in told
    assert others == [[]] * 3
