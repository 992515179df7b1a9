"""Ranks that are not alike learn it, all of them and at once; ranks that are never wait for one."""

from __future__ import annotations

import re
import time
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from contracts.drive import losses
from loops import Numbers
from parallel import jobs
from parallel.processes import Raised, on_ranks, succeed
from thresher import KAKURENBO, InfoBatch, Method, Pruner, RePB
from thresher.errors import ThresherError

SIZE = 24


def one_epoch(pruner: Pruner, loader: Any) -> None:
    for ids in loader:
        pruner.reduce((ids + 1).float())


def unlike(rank: int, change: str) -> None:
    """Train two epochs on ranks of which the last is changed."""
    is_changed = rank == dist.get_world_size() - 1
    warnings.filterwarnings("ignore", "Batches of epoch 0 that were fetched but never reduced")
    method: Method = InfoBatch(r=0.4 if is_changed and change == "method" else 0.5)
    settings: dict[str, Any] = {"epochs": 5, "seed": 0}
    size, batch = SIZE, 3
    if is_changed and change in ("epochs", "seed", "always_keep", "step_exponent"):
        settings[change] = {"epochs": 6, "seed": 1, "always_keep": [0], "step_exponent": 0.5}[
            change
        ]
    if is_changed and change == "num_samples":
        size += 1
    if is_changed and change == "batch size":
        batch += 1
    pruner = Pruner(method, **settings)
    data = Numbers(size)
    loader: Any = pruner.wrap(DataLoader(data, batch, sampler=DistributedSampler(data)))
    if change == "checkpoint":
        one_epoch(pruner, loader)
        state = pruner.state_dict()
        if is_changed:
            state["clock"]["progress"]["scores"]["loss"][:] = 1.0
        pruner.load_state_dict(state)
        one_epoch(pruner, loader)
    for _ in range(2):
        for number, ids in enumerate(loader):
            if not (is_changed and change == "a skipped batch" and number == 1):
                pruner.reduce((ids + 1).float())


def every_change(rank: int, changes: list[str]) -> list[tuple[str, str, float]]:
    """What each change raises on this rank, and after how many seconds."""
    found = []
    for change in changes:
        start = time.perf_counter()
        try:
            unlike(rank, change)
        except (ThresherError, Warning) as error:
            kind, message = type(error).__name__, str(error)
        else:
            kind, message = "nothing", ""
        found.append((kind, message, time.perf_counter() - start))
        dist.barrier()
    return found


DIFFERENCES = {
    "seed": "settings (.*seed=0.* on rank.* 0.*; .*seed=1.* on rank ",
    "epochs": "settings (.*epochs=5.*; .*epochs=6.* on rank ",
    "step_exponent": "settings (.*step_exponent=None.*; .*step_exponent=0.5.* on rank ",
    "method": "method (.*r=0.5.*; .*r=0.4.* on rank ",
    "num_samples": "number of samples (24 on rank.*; 25 on rank ",
    "batch size": "batch size (3 on rank.*; 4 on rank ",
    "always_keep": "plan (",
    "checkpoint": "plan (",
    "a skipped batch": "batches trained (4 on rank.*; 3 on rank ",
}


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_rank_says_in_what_they_differ(world_size: int) -> None:
    changes = list(DIFFERENCES) if world_size == 2 else ["seed", "num_samples"]
    by_rank = succeed(every_change, world_size, changes)
    for number, change in enumerate(changes):
        pattern = DIFFERENCES[change].replace("(", r"\(")
        for kind, message, seconds in (of_rank[number] for of_rank in by_rank):
            assert kind == "RanksDisagreeError", (change, kind, message)
            assert re.search(f"Ranks differ in .*{pattern}", message), (change, message)
            assert seconds < 10, change
        assert len({of_rank[number][1] for of_rank in by_rank}) == 1, "all say the same"


def asks_alone(rank: int) -> list[Any]:
    """Rank 0 asks for lengths, reports and states at moments when the others do not."""
    table, lengths = losses(SIZE, 4), list[int]()
    pruner, loader = jobs.wrapped(RePB(prune_ratio=0.3), SIZE, 3, epochs=4)
    if rank == 0:  # before the first step, as a progress bar or a logger does
        lengths.append(len(loader))
        next(iter(loader))
        pruner.report(), pruner.state_dict(), str(pruner.report())
    for epoch in range(4):
        if rank == 0:
            lengths.append(len(loader))
        batches = iter(loader)
        for ids in batches:
            if rank == 0:
                pruner.report(), len(loader)
            pruner.reduce(table[epoch][ids])
        dist.barrier()
        if rank == 0:
            pruner.report(), pruner.epoch, pruner.finished
            pruner.state_dict(), len(loader)
    if rank == 0:
        lengths.append(len(loader))
        str(pruner.report()), pruner.state_dict()
    dist.barrier()
    report = pruner.report()
    return [report.trained, [row.planned for row in report.rows], pruner.finished, lengths]


def test_one_rank_may_ask_for_lengths_reports_and_states_alone() -> None:
    first, second = succeed(asks_alone, 2)
    assert first[:3] == second[:3]
    assert first[2]
    planned = first[1]
    assert first[3] == [-(-size // 6) for size in (SIZE, *planned, planned[-1])]


def bars(rank: int) -> int:
    """A method that scores hidden samples anew, and a progress bar on rank 0 alone."""
    method = KAKURENBO(prune_ratio=0.3, tau=0.1)
    pruner, data, seen = Pruner(method, epochs=4), Numbers(SIZE), 0
    plain = DataLoader(data, 3, sampler=DistributedSampler(data))
    loader: Any = pruner.wrap(plain, score_fn=lambda ids: jobs.named(method, (ids + 1).float()))
    for _ in range(4):
        if rank == 0:
            seen += len(loader)
        for ids in loader:
            scores = jobs.named(method, (ids + 1) / 9)
            pruner.reduce(scores["loss"], scores=scores)
    if rank == 0:
        seen += len(loader)
    return pruner.report().extra_forwards


def test_a_length_on_one_rank_goes_with_the_next_pass_of_the_others() -> None:
    first, second = succeed(bars, 2)
    assert first == second > 0


def started_late(rank: int, where: str) -> None:
    """The process group starts when plans are already made."""
    dist.destroy_process_group()
    data = Numbers(SIZE)
    if where == "wrap":
        pruner = Pruner(InfoBatch(), epochs=4)
        loader: Any = pruner.wrap(DataLoader(data, 3, shuffle=True))
    else:
        pruner = Pruner(InfoBatch(), epochs=4, num_samples=SIZE)
        pruner.plan(0)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert dist.get_world_size() == 1  # a real start; what follows pretends that it has two ranks
    dist.get_world_size = lambda group=None: 2  # type: ignore[assignment]
    if where == "wrap":
        one_epoch(pruner, loader)
    else:
        pruner.observe(pruner.plan(0).ids[:3], torch.ones(3))


@pytest.mark.parametrize("where", ["wrap", "plan"])
def test_a_process_group_that_starts_too_late_is_refused_before_anything_is_trained(
    where: str,
) -> None:
    for each in on_ranks(started_late, 2, where):
        assert isinstance(each, Raised)
        assert each.kind == "SettingError", each.trace
        assert "rank 0 of 2 for torch.distributed; expected: rank 0 of 1" in each.message
        assert "init_process_group before pruner.wrap" in each.message


def wrong_sampler(rank: int) -> None:
    data = Numbers(SIZE)
    sampler: Any = DistributedSampler(data, num_replicas=3, rank=rank)
    Pruner(InfoBatch(), epochs=4).wrap(DataLoader(data, 3, sampler=sampler))


def test_a_sampler_for_other_ranks_is_refused() -> None:
    for rank, each in enumerate(on_ranks(wrong_sampler, 2)):
        assert isinstance(each, Raised)
        assert each.kind == "SamplerError"
        assert f"for rank {rank} of 3; expected: rank {rank} of 2" in each.message


def rewrapped(rank: int) -> None:
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, 3, epochs=4)
    batches = iter(loader)
    pruner.reduce(next(batches).float())
    pruner.wrap(DataLoader(Numbers(SIZE), 3, shuffle=True))  # the same batches: nothing changes
    pruner.wrap(DataLoader(Numbers(SIZE), 4, shuffle=True))


def test_a_loader_that_cuts_otherwise_in_the_middle_of_an_epoch_is_refused() -> None:
    for each in on_ranks(rewrapped, 2):
        assert isinstance(each, Raised)
        assert each.kind == "SettingError"
        assert "wrapped after batches of the epoch in progress were trained" in each.message


def accounts(rank: int) -> list[Any]:
    table = losses(23, 3)
    pruner, loader = jobs.wrapped(RePB(prune_ratio=0.3), 23, 3, epochs=3, remainder="drop")
    for _ in range(3):
        jobs.epoch_of(pruner, loader, table)
    rows = pruner.report().rows
    facts = [(row.planned, row.trained, row.dropped, row.bytes_sent) for row in rows]
    return [facts, min(row.gathering_seconds for row in rows), str(pruner.report())]


def test_a_report_tells_of_the_remainder_and_of_what_was_sent() -> None:
    found = succeed(accounts, 2)
    assert found[0][0] == found[1][0]
    for facts, least_seconds, printed in found:
        assert least_seconds > 0
        for planned, trained, dropped, sent in facts:
            assert dropped == planned % 6 % 2
            assert trained == planned - dropped
            # Two heads of 32 numbers, and four bytes for each sample of a rank.
            assert sent == 2 * 256 + 4 * trained // 2
        head, first = printed.splitlines()[4:6]
        assert "dropped   bytes sent planning s gathering s" in head
        assert first.split()[7:9] == ["1", f"{facts[0][3]}"]
