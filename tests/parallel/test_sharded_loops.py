"""Loops of many kinds on ranks with a shard each: by ids, below the loop, paced, in steps."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from contracts.drive import losses, named
from loops import Numbers
from parallel import shard_jobs
from parallel.processes import succeed
from thresher import (
    KAKURENBO,
    Full,
    InfoBatch,
    Method,
    Pruner,
    RandomPruning,
    RePB,
    Subset,
)
from thresher.errors import SettingError, StaleBatchError
from thresher.parallel.even_steps import EvenSteps

SIZE = 24


def by_ids(rank: int, size: int, batch: int) -> list[Any]:
    """An epoch trained last batch first, each named by its ids: what the ledger learns of it."""
    warnings.filterwarnings("ignore", "A whole pass over the plan")
    pruner, loader = shard_jobs.wrapped(InfoBatch(), size, batch, epochs=4)
    for ids in list(loader)[::-1]:
        pruner.reduce(
            torch.where(ids % dist.get_world_size() == rank, ids + 1.0, torch.nan), ids=ids
        )
    assert pruner.epoch == 1
    len(loader)
    clock = pruner._clock
    assert clock is not None
    return clock._coming.ledger["loss"].tolist()  # type: ignore[union-attr]


def below(rank: int, method: Method) -> list[list[int]]:
    """A loop by `plan` and `observe`."""
    table, kept = losses(SIZE, 4), []
    pruner = Pruner(method, epochs=4, num_samples=SIZE, shard=True)
    for epoch in range(4):
        plan = pruner.plan(epoch)
        with pytest.raises(SettingError, match=r"plan of a shard.*EvenSteps"):
            plan.share(rank, 2, 3)
        even = EvenSteps(sizes=plan.sizes, rank=rank, batch_size=3)
        for number in range(even.num_batches):
            ids = plan.ids[even.batch(number)]
            pruner.observe(ids, named(method, table[epoch][ids]))
        kept.append(plan.ids.tolist())
    report = pruner.report()
    assert report.trained == report.planned
    return kept


def budgeted(rank: int) -> list[Any]:
    """A run of 13 steps of two micro-batches: six epochs of three batches, and two batches."""
    pruner = Pruner(RandomPruning(prune_ratio=0.4), steps=13, accumulation_steps=2, shard=True)
    data = Numbers(SIZE)
    loader: Any = pruner.wrap(DataLoader(data, 3, sampler=DistributedSampler(data)))
    found, taken = [], 0
    while not pruner.finished:
        length = len(loader)
        for ids in loader:
            pruner.reduce((ids + 1).float())
            taken += 1
            length -= 1
        found.append(length)
    return [found, taken, pruner.report().rows[-1].trained]


def paced(rank: int) -> list[float]:
    """The learning rate at the end of each epoch of a schedule built for all samples."""
    data = Numbers(SIZE + 5)
    plain = DataLoader(data, 3, sampler=DistributedSampler(data))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, 5 * len(plain))
    pruner = Pruner(InfoBatch(), epochs=5, shard=True)
    loader, scheduler = pruner.wrap(plain), pruner.pace(scheduler)
    rates = []
    for _ in range(5):
        for ids in loader:
            pruner.reduce((ids + 1).float())
            optimizer.step()
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def replaced(rank: int) -> list[list[int]]:
    """A subset that is replaced before, in and between epochs."""
    pruner, loader = shard_jobs.wrapped(Subset(range(20)), SIZE, 3, epochs=4)
    kept = []
    pruner.replace_subset([1, 2, 5, 8])
    for epoch in range(3):
        for number, ids in enumerate(loader):
            pruner.reduce((ids + 1).float())
            if epoch == 0 and number == 0:
                pruner.replace_subset([3, 4])
        kept.append(pruner.plan(epoch).ids.tolist())
        if epoch == 1:
            pruner.replace_subset([6, 11, 13], [1.0, 2.0, 3.0])
    return kept


def broken(rank: int, share: str) -> list[Any]:
    """Rank 1's losses, or all of them, are NaN in the first epoch."""
    warnings.filterwarnings("ignore", "10 samples of epoch 0 had a score that is NaN")
    pruner, loader = shard_jobs.wrapped(InfoBatch(), 20, 2, epochs=5)
    for _ in range(2):
        for ids in loader:
            here = (ids + 1).float() * (torch.nan if rank == 1 or share == "all" else 1)
            pruner.reduce(here if pruner.epoch == 0 else (ids + 1).float())
    return [row.non_finite for row in pruner.report().rows]


def left_early(rank: int) -> list[int]:
    """Loops that leave an epoch early, and peek."""
    pruner, loader = shard_jobs.wrapped(RePB(rho=0.5), SIZE, 3, epochs=4)
    for ids in loader:
        pruner.reduce((ids + 1).float())
        break
    ahead = next(iter(loader))  # of epoch 1
    try:
        pruner.reduce((ahead + 1).float(), ids=ahead)
    except StaleBatchError:
        return []
    for ids in loader:
        pruner.reduce((ids + 1).float())
    return [row.trained for row in pruner.report().rows]


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What two ranks do, in one launch."""
    calls: dict[str, Any] = {}
    calls |= {f"ids {size} {batch}": (by_ids, (size, batch)) for size, batch in ((23, 4), (7, 1))}
    calls |= {repr(m): (below, (m,)) for m in (KAKURENBO(prune_ratio=0.3), RePB(rho=0.5), Full())}
    calls |= {"budget": (budgeted, ()), "pace": (paced, ()), "replaced": (replaced, ())}
    calls |= {share: (broken, (share,)) for share in ("one", "all")}
    calls["left early"] = left_early, ()
    return succeed(shard_jobs.all_of, 2, calls)


@pytest.mark.parametrize(("size", "batch"), [(23, 4), (7, 1)])
def test_scores_named_by_ids_land_on_their_rows_in_any_order(
    size: int, batch: int, found: list[dict[str, Any]]
) -> None:
    for rank, each in enumerate(found):
        assert each[f"ids {size} {batch}"] == [id_ + 1.0 for id_ in range(rank, size, 2)]


def test_below_the_loop_each_rank_scores_its_own_plan(found: list[dict[str, Any]]) -> None:
    for method in (KAKURENBO(prune_ratio=0.3), RePB(rho=0.5), Full()):
        for parts in zip(*[each[repr(method)] for each in found], strict=True):
            ids = [id_ for part in parts for id_ in part]
            assert len(ids) == len(set(ids)) > 0
    assert all(len(each[repr(Full())][0]) == SIZE // 2 for each in found)


def test_a_budget_of_steps_ends_on_all_ranks_at_once(found: list[dict[str, Any]]) -> None:
    assert found[0]["budget"] == found[1]["budget"]
    left, taken, trained = found[0]["budget"]
    assert set(left) == {0}, "len was true"
    assert taken == 20
    assert 8 <= trained <= 10, "two thirds of an epoch of 14"


def test_a_paced_schedule_ends_every_epoch_as_designed(found: list[dict[str, Any]]) -> None:
    for each in found:
        assert each["pace"] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])


def test_a_subset_is_replaced_on_all_shards(found: list[dict[str, Any]]) -> None:
    first, second = (each["replaced"] for each in found)
    kept = [sorted(ours + theirs) for ours, theirs in zip(first, second, strict=True)]
    assert kept == [[1, 2, 5, 8], [3, 4], [6, 11, 13]]


def test_broken_losses_of_one_rank_count_everywhere_and_of_all_ranks_stop_all(
    found: list[dict[str, Any]],
) -> None:
    for each in found:
        assert each["one"] == [10, 0]
        assert each["all"].kind == "AllLossesNaNError"
        assert each["all"].message.startswith("All 20 scores of epoch 0 are NaN or infinite")


def test_an_epoch_that_is_left_early_counts_what_was_trained(found: list[dict[str, Any]]) -> None:
    assert found[0]["left early"] == found[1]["left early"]
    assert found[0]["left early"][0] == 6
