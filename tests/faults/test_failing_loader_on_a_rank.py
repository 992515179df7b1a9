"""A data set that fails on one of several ranks: what the others get to know, and when."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from parallel import jobs
from parallel.processes import Raised, on_ranks, succeed
from thresher import KAKURENBO, InfoBatch, Pruner
from thresher.online import SelectiveBackprop

SIZE, BATCH, EPOCHS = 32, 4, 3
WORLD_SIZE = 2
MOMENTS = [(1, 0), (1, 1), (1, -1)]
"""Epoch and step at which it fails: the first, one in the middle, the last."""


class Broken(Dataset[Tensor]):
    """Numbers, of which every so many-th cannot be read while `failing` is set, also by workers."""

    def __init__(self, every: int = SIZE) -> None:
        self.every = every
        self.failing = torch.full((1,), -1).share_memory_()

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Tensor:
        if index % self.every == self.failing:
            raise ValueError(f"sample {index} cannot be read")
        return torch.tensor(index)


class Done(NamedTuple):
    """How many batches of each epoch a rank trained, and the errors it caught."""

    steps: list[int]
    caught: list[str]


def train(
    rank: int, when: tuple[int, int], num_workers: int, catches: bool, epochs: int = EPOCHS
) -> Done:
    """Train with DDP; on rank 1 a sample of one batch cannot be read."""
    data = Broken()
    pruner = Pruner(InfoBatch(), epochs=EPOCHS)
    # Ranks of these tests come from a fork server, which their workers would start anew.
    workers = {
        "num_workers": num_workers,
        "multiprocessing_context": "fork" if num_workers else None,
    }
    plain = DataLoader(data, BATCH, sampler=DistributedSampler(data), **workers)
    loader: Any = pruner.wrap(plain)
    model = DistributedDataParallel(jobs.model())
    done = Done([], [])
    for epoch in range(epochs):
        size = len(loader)
        if rank == 1 and epoch == when[0]:
            share = list(loader.sampler)
            data.failing[0] = share[(when[1] % size) * BATCH]
        done.steps.append(0)
        batches = iter(loader)
        for _ in range(size):
            try:
                ids = next(batches)
            except ValueError as error:
                if not catches:
                    raise
                done.caught.append(str(error).splitlines()[-1])
                continue
            x, y = jobs.features(ids)
            each = nn.functional.cross_entropy(model(x), y, reduction="none")
            pruner.reduce(each).backward()
            model.zero_grad()
            done.steps[-1] += 1
        data.failing[0] = -1
    return done


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_error_ends_its_rank_and_with_it_the_others(num_workers: int) -> None:
    found = on_ranks(train, WORLD_SIZE, (1, 1), num_workers, False)
    assert all(isinstance(each, Raised) for each in found)
    assert found[1].kind == "ValueError"
    assert "cannot be read" in found[1].message
    assert found[0].kind in ("RuntimeError", "DistBackendError"), found[0].trace
    assert "onnection" in found[0].message


def train_each(rank: int, moments: list[tuple[int, int]], num_workers: int) -> list[Any]:
    """Go on after the error, at each moment in turn."""
    found = list[Any]()
    for when in moments:
        try:
            found.append(train(rank, when, num_workers, catches=True))
        except Exception as error:
            found.append((type(error).__name__, str(error)))
        dist.barrier()
    return found


@pytest.mark.parametrize(
    ("moments", "num_workers"), [(MOMENTS, 0), (MOMENTS[1:2], 2)], ids=["0 workers", "2 workers"]
)
def test_a_rank_that_goes_on_without_the_batch_stops_all_at_the_end_of_the_epoch(
    moments: list[tuple[int, int]], num_workers: int
) -> None:
    for found in zip(*succeed(train_each, WORLD_SIZE, moments, num_workers), strict=True):
        for kind, message in found:
            assert kind == "RanksDisagreeError"
            assert "Ranks differ in batches trained" in message
        assert len(set(found)) == 1, "all say the same"


def train_at_the_end(rank: int) -> Any:
    """The last batch of the last epoch fails, so that no further epoch begins."""
    return train(rank, (1, -1), 0, catches=True, epochs=2)


def test_after_the_last_batch_the_others_learn_it_when_the_rank_leaves() -> None:
    first, second = on_ranks(train_at_the_end, WORLD_SIZE)
    assert isinstance(second, Done)
    assert len(second.caught) == 1
    assert second.steps[0] > 0
    assert isinstance(first, Raised)
    assert "onnection" in first.message


def online(rank: int) -> list[list[int]]:
    """Candidates that cannot be read are passed over; there are others."""
    data, found = Broken(every=8), list[list[int]]()
    pruner = Pruner(SelectiveBackprop(prune_ratio=0.5), epochs=EPOCHS)
    plain = DataLoader(data, BATCH, sampler=DistributedSampler(data))
    loader: Any = pruner.wrap(plain, score_fn=lambda ids: {"loss": (ids + 1) / SIZE})
    for epoch in range(EPOCHS):
        data.failing[0] = 3 if rank == 1 and epoch == 1 else -1
        found.append([0, 0])
        batches = iter(loader)
        while True:
            try:
                ids = next(batches)
            except ValueError:
                found[-1][1] += 1
                continue
            except StopIteration:
                break
            pruner.reduce((ids + 1) / SIZE)
            found[-1][0] += 1
    return found


def test_an_online_method_chooses_among_the_candidates_that_can_be_read() -> None:
    first, second = succeed(online, WORLD_SIZE)
    assert [steps for steps, _ in first] == [steps for steps, _ in second]
    assert sum(failed for _, failed in first) == 0
    assert second[1][1] > 0


def refreshed(rank: int) -> list[Any]:
    """A method that scores hidden samples anew, which fails once on rank 1."""
    method, data = KAKURENBO(prune_ratio=0.3, tau=0.1), Broken()
    pruner, failures = Pruner(method, epochs=4), list[int]()

    def score(ids: Tensor) -> dict[str, Tensor]:
        if rank == 1 and not failures:
            failures.append(len(ids))
            raise ValueError("the scores of these samples cannot be made")
        return jobs.named(method, (ids + 1).float())

    plain = DataLoader(data, BATCH, sampler=DistributedSampler(data))
    loader: Any = pruner.wrap(plain, score_fn=score)
    told = list[Any]()
    for _ in range(4):
        try:
            batches = iter(loader)
        except Exception as error:
            told.append((type(error).__name__, str(error)))
            batches = iter(loader)
        for ids in batches:
            scores = jobs.named(method, (ids + 1) / 9)
            pruner.reduce(scores["loss"], scores=scores)
    return [told, jobs.digest(pruner.plan(3))]


def test_a_rank_that_cannot_score_anew_says_so_to_all_and_can_try_again() -> None:
    (first, plan), (second, same) = succeed(refreshed, WORLD_SIZE)
    assert second == [("ValueError", "the scores of these samples cannot be made")]
    assert [kind for kind, _ in first] == ["RanksDisagreeError"]
    assert "failures (0 on rank 0; 1 on rank 1)" in first[0][1]
    assert "its data set or model failed" in first[0][1]
    assert plan == same
