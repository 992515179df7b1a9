"""A loss that is NaN on one of four ranks: nobody hangs, and all ranks go on alike."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from contracts.drive import losses, named
from loops import Numbers
from online.found import CLASSES, short
from parallel import jobs
from parallel.processes import Raised, on_ranks, succeed
from thresher import KAKURENBO, InfoBatch, Method, Omission, OrderDP, Pruner, RePB, SeTa
from thresher.errors import ThresherWarning
from thresher.online import OnlineMethod

SIZE, GLOBAL, EPOCHS = 45, 16, 4
METHODS: list[Method] = [
    RePB(rho=0.5, window=1),
    InfoBatch(),
    OrderDP(prune_ratio=0.4),
    Omission(prune_ratio=0.4),
    SeTa(prune_ratio=0.4),
    KAKURENBO(prune_ratio=0.3, tau=0.1),
]
MOMENTS = [(0, 0), (1, 1), (2, -1)]
"""Epoch and step, -1 being the last: a first batch, one in the middle, one that is padded."""


class Found(NamedTuple):
    """What a rank saw of a run: plans, broken ids and their count by epoch, and warnings."""

    plans: list[jobs.Digest]
    broken: list[int]
    counts: list[int]
    told: list[str]
    kept: bool


def run(rank: int, method: Method, when: tuple[int, int], broken: list[int] | None) -> Found:
    """Train on made-up scores; NaN in the batch of rank 1 at a moment, or of given ids."""
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    table, ids_broken, plans = losses(SIZE, EPOCHS), list[int](), list[jobs.Digest]()
    pruner, loader = jobs.wrapped(method, SIZE, GLOBAL // world_size, epochs=EPOCHS)
    kept = True
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for epoch in range(EPOCHS):
            last = len(loader) - 1
            for step, ids in enumerate(loader):
                values = table[epoch][ids].clone()
                if broken is not None and epoch == when[0]:
                    values[torch.isin(ids, torch.tensor(broken))] = torch.nan
                elif rank == 1 and (epoch, step) == (when[0], last if when[1] < 0 else when[1]):
                    values[:], ids_broken = torch.nan, ids.tolist()
                scores = named(method, values)
                pruner.reduce(values, scores=scores)
            plans.append(jobs.digest(pruner.plan(epoch)))
            if epoch == when[0] + 1 and broken is not None:
                kept = set(broken) <= set(pruner.plan(epoch).ids.tolist())
    counts = [row.non_finite for row in pruner.report().rows]
    messages = [str(each.message) for each in told if each.category is ThresherWarning]
    return Found(plans, ids_broken, counts, messages, kept)


def runs(rank: int) -> list[Found]:
    return [run(rank, method, when, None) for method in METHODS for when in MOMENTS]


@pytest.fixture(scope="module")
def on_four() -> list[list[Found]]:
    return succeed(runs, 4)


def test_all_ranks_plan_alike_and_as_one_process_does_with_the_same_broken_scores(
    on_four: list[list[Found]],
) -> None:
    places = [(method, when) for method in METHODS for when in MOMENTS]
    for number, (method, when) in enumerate(places):
        first, second, *others = (found[number] for found in on_four)
        broken = sorted(set(second.broken))
        assert broken, method
        alone = run(0, method, when, broken)
        for each in (first, second, *others):
            assert each.plans == alone.plans, (method, when)
            assert each.counts == alone.counts, (method, when)
        assert alone.counts[when[0]] == len(broken)
        assert sum(alone.counts) == len(broken)
        if isinstance(method, (RePB, InfoBatch)):
            assert alone.kept, "broken scores count as unseen, which threshold rules keep"


def test_each_rank_warns_once_and_of_the_same(on_four: list[list[Found]]) -> None:
    for found in zip(*on_four, strict=True):
        told = [[text for text in each.told if "NaN or infinite" in text] for each in found]
        assert [len(texts) for texts in told] == [1] * 4
        assert len({texts[0] for texts in told}) == 1
        assert f"{max(found[0].counts)} samples" in told[0][0]


def nothing_but_nan(rank: int) -> None:
    """An epoch of which every rank has nothing but NaN."""
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, 4, epochs=EPOCHS)
    for _ in range(2):
        for ids in loader:
            pruner.reduce(torch.full(ids.shape, torch.nan))


def test_an_epoch_of_nothing_but_nan_is_refused_on_every_rank() -> None:
    found = on_ranks(nothing_but_nan, 4)
    for each in found:
        assert isinstance(each, Raised)
        assert each.kind == "AllLossesNaNError"
        assert each.message == f"All {SIZE} scores of epoch 0 are NaN or infinite; " + (
            "expected: finite losses. Training has diverged: lower the learning rate, or check "
            "the loss and the data."
        )


def guarded(rank: int) -> tuple[int, list[list[float]], list[jobs.Digest]]:
    """A DDP loop that leaves a step out if its gradient is broken; it asks no other rank."""
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, 4, epochs=EPOCHS)
    model = DistributedDataParallel(jobs.model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    left_out, plans = 0, list[jobs.Digest]()
    warnings.filterwarnings("ignore", ".*NaN or infinite")
    for epoch in range(EPOCHS):
        for step, ids in enumerate(loader):
            x, y = jobs.features(ids)
            if rank == 1 and (epoch, step) == (1, 1):
                x = x * torch.nan
            each = nn.functional.cross_entropy(model(x), y, reduction="none")
            pruner.reduce(each).backward()
            if all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None):
                optimizer.step()
            else:
                left_out += 1
            optimizer.zero_grad()
        plans.append(jobs.digest(pruner.plan(epoch)))
    return left_out, [p.detach().reshape(-1).tolist() for p in model.parameters()], plans


def test_a_loop_that_looks_at_its_gradient_leaves_the_step_out_on_all_ranks() -> None:
    first, *others = succeed(guarded, 4)
    assert first[0] == 1
    assert all(torch.tensor(values).isfinite().all() for values in first[1])
    for other in others:
        assert other == first


def online(rank: int, methods: list[OnlineMethod]) -> list[tuple[list[int], list[int]]]:
    """Online methods whose scores and losses are NaN on rank 1 in the second epoch."""
    found = []
    warnings.filterwarnings("ignore", ".*NaN or infinite")
    for method in methods:
        pruner, data = Pruner(method, epochs=EPOCHS), Numbers(SIZE)

        def scored(ids: torch.Tensor, pruner: Pruner = pruner) -> dict[str, torch.Tensor]:
            values = (ids + 1) / 50
            values = values * torch.nan if rank == 1 and pruner.epoch == 1 else values
            return {"loss": values, "logit_grad_norm": values}

        sampler = torch.utils.data.DistributedSampler(data)
        loader: Any = pruner.wrap(DataLoader(data, 3, sampler=sampler), score_fn=scored)
        steps = []
        for epoch in range(EPOCHS):
            steps.append(0)
            for ids in loader:
                broken = rank == 1 and epoch == 1
                pruner.reduce(ids * torch.nan if broken else (ids + 1).float())
                steps[-1] += 1
        found.append((steps, [row.non_finite for row in pruner.report().rows]))
    return found


def test_online_methods_take_equal_steps_all_the_same() -> None:
    methods = [kind() for kind in CLASSES]
    first, *others = succeed(online, 4, methods)
    for method, (steps, counts) in zip(methods, first, strict=True):
        assert counts[1] >= steps[1] > 0, short(method)
        assert counts[0] == counts[2] == counts[3] == 0
    assert all(other == first for other in others)
