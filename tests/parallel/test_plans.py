"""Plans are the same on any number of ranks, to the bit, whatever a method does with the scores."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist

from contracts.drive import losses
from contracts.found import CLASSES, METHODS, short
from loops import Numbers
from parallel import jobs
from parallel.processes import on_ranks, succeed
from thresher import KAKURENBO, InfoBatch, Method, Plan, Pruner, RePB
from thresher.dealt import DealtProgress
from thresher.grid import Grid
from thresher.parallel.exchange import Exchange
from thresher.parallel.ranks import Ranks

SIZE, EPOCHS, GLOBAL = 61, 5, 8
DEFAULTS: list[Method] = [kind() for kind in CLASSES]
WARNS = pytest.mark.filterwarnings("ignore:.* cannot save ")


@WARNS
@pytest.mark.parametrize(
    ("world_size", "threads", "methods"),
    [
        pytest.param(2, 3, METHODS, id="2 ranks, every setting"),
        pytest.param(4, 1, DEFAULTS, id="4 ranks"),
        pytest.param(4, 3, METHODS, id="4 ranks, every setting", marks=pytest.mark.slow),
    ],
)
def test_given_the_same_scores_plans_are_bit_equal(
    world_size: int, threads: int, methods: list[Method]
) -> None:
    alone = jobs.plans(0, methods, SIZE, GLOBAL, EPOCHS, 1)
    for of_rank in succeed(jobs.plans, world_size, methods, SIZE, GLOBAL, EPOCHS, threads):
        for method, ours, theirs in zip(methods, alone, of_rank, strict=True):
            assert theirs == ours, short(method)


def test_every_method_is_there() -> None:
    assert len(METHODS) > len(DEFAULTS) == len(CLASSES) > 10


@WARNS
def test_plans_are_bit_equal_for_data_smaller_than_the_world() -> None:
    alone = jobs.plans(0, DEFAULTS, 3, 4, 4, 1)
    assert succeed(jobs.plans, 4, DEFAULTS, 3, 4, 4, 1) == [alone] * 4


def out_of_order(rank: int, methods: list[Method], world_size: int) -> list[list[jobs.Digest]]:
    """Runs whose batches are trained last first, each named by its ids."""
    table, found = losses(SIZE, EPOCHS), []
    warnings.filterwarnings("ignore", "A whole pass over the plan")
    for method in methods:
        pruner, loader = jobs.wrapped(method, SIZE, GLOBAL // world_size, epochs=EPOCHS)
        digests = []
        for epoch in range(EPOCHS):
            for ids in list(loader)[::-1]:
                pruner.reduce(table[epoch][ids], ids=ids)
            digests.append(jobs.digest(pruner.plan(epoch)))
        found.append(digests)
    return found


@WARNS
def test_windows_are_those_of_the_steps_that_were_taken_even_out_of_order() -> None:
    methods = [RePB(rho=0.5, window=2), InfoBatch()]
    alone = out_of_order(0, methods, 1)
    for of_rank in succeed(out_of_order, 2, methods, 2):
        assert of_rank == alone


def below_the_loop(rank: int, methods: list[Method], world_size: int) -> list[Any]:
    """Runs by `plan.share` and `observe`, without a loader."""
    table, found = losses(SIZE, EPOCHS), []
    for method in methods:
        pruner = Pruner(method, epochs=EPOCHS, num_samples=SIZE)
        digests = []
        for epoch in range(EPOCHS):
            plan = pruner.plan(epoch)
            share = plan.share(rank, world_size, GLOBAL // world_size)
            for ids in share.ids.split(GLOBAL // world_size):
                pruner.observe(ids, table[epoch][ids])
            assert pruner.epoch == epoch + 1
            digests.append(jobs.digest(plan))
        found.append(digests)
    return found


@WARNS
def test_below_the_loop_ranks_score_their_shares_and_get_the_same_plans() -> None:
    methods = [RePB(rho=0.5, window=2), InfoBatch(), RePB(prune_ratio=0.3)]
    alone = below_the_loop(0, methods, 1)
    assert succeed(below_the_loop, 4, methods, 4) == [alone] * 4


def with_refresh(rank: int, world_size: int) -> list[Any]:
    """KAKURENBO with a score function, which counts how often it is called and for how many."""
    method = KAKURENBO(prune_ratio=0.4, tau=0.1)
    table, calls = losses(SIZE, EPOCHS), list[int]()
    pruner = Pruner(method, epochs=EPOCHS)

    def score(ids: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(len(ids))
        return jobs.named(method, table[pruner.epoch - 1][ids])

    data = Numbers(SIZE)
    options: Any = {"shuffle": True}
    if dist.is_initialized():
        options = {"sampler": torch.utils.data.DistributedSampler(data)}
    plain = torch.utils.data.DataLoader(data, GLOBAL // world_size, **options)
    loader = pruner.wrap(plain, score_fn=score)
    digests = [jobs.epoch_of(pruner, loader, table)[0] for _ in range(EPOCHS)]
    return [digests, pruner.report().extra_forwards, len(calls), sum(calls)]


def test_hidden_samples_are_scored_once_over_all_ranks() -> None:
    digests, forwards, _, scored = with_refresh(0, 1)
    assert forwards == scored > 0
    found = succeed(with_refresh, 4, 4)
    for of_rank in found:
        assert of_rank[:2] == [digests, forwards]
        assert of_rank[2] == found[0][2], "a model that talks in its forward pass must not wait"
        assert scored <= 4 * of_rank[3] < scored + 4 * EPOCHS


def narrow(rank: int, kinds: list[torch.dtype], first: int) -> list[Any]:
    """Scores in half precision of samples whose ids float32 cannot hold, as all ranks know them."""
    ids = torch.arange(first, first + 40).flip(0)
    plan = Plan(epoch=0, ids=ids, weights=torch.ones(40), num_samples=first + 40)
    exchange, found = Exchange(Ranks.found(), {}), []
    for kind in kinds:
        for grid in (Grid(batch_size=5, rank=rank, world_size=2), None):
            progress = DealtProgress(plan, ("loss",), 1, exchange, grid)
            for mine in plan.share(rank, 2, 5).ids.split(5):
                progress.record(progress.locate(mine.numpy()), {"loss": (mine - first).to(kind)})
            progress.gather()
            known = progress._gathered()
            assert known is not None
            found.append(dict(zip(ids.tolist(), known.scores["loss"].tolist(), strict=True)))
    return found


def test_large_ids_keep_their_scores_in_half_precision() -> None:
    """Published code gathers ids and scores in one tensor, which rounds the ids."""
    kinds, first = [torch.bfloat16, torch.float16, torch.float32], 2**24 + 1
    expected = {first + k: float(k) for k in range(40)}
    assert succeed(narrow, 2, kinds, first) == [[expected] * 6] * 2


def budgeted(rank: int, world_size: int) -> list[Any]:
    """A run of so many steps, of two micro-batches each, whose rate falls as it was designed."""
    pruner = Pruner(RePB(prune_ratio=0.4, window=2), steps=20, accumulation_steps=2)
    _, loader = jobs.wrapped(RePB(), SIZE, GLOBAL // world_size, epochs=1, pruner=pruner)
    table, found = losses(SIZE, 30), list[Any]()
    while not pruner.finished:
        found.append((pruner.epoch, len(loader), pruner.plan(pruner.epoch).checksum()))
        for ids in loader:
            pruner.reduce(table[pruner.epoch][ids])
    return [found, [row.trained for row in pruner.report().rows]]


def test_a_budget_of_steps_and_accumulation_give_the_same_plans() -> None:
    alone = budgeted(0, 1)
    assert len(alone[0]) > 4
    assert succeed(budgeted, 2, 2) == [alone] * 2


def rates(rank: int, world_size: int) -> list[float]:
    """The learning rate after each step of a paced scheduler."""
    data, method = Numbers(SIZE), RePB(prune_ratio=0.4)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    options: Any = {"shuffle": True}
    if dist.is_initialized():
        options = {"sampler": torch.utils.data.DistributedSampler(data)}
    plain = torch.utils.data.DataLoader(data, GLOBAL // world_size, **options)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, EPOCHS * len(plain))
    pruner = Pruner(method, epochs=EPOCHS)
    loader, paced = pruner.wrap(plain), pruner.pace(scheduler)
    table, found = losses(SIZE, EPOCHS), list[float]()
    for epoch in range(EPOCHS):
        for ids in loader:
            pruner.reduce(table[epoch][ids])
            optimizer.step()
            paced.step()
            found.append(optimizer.param_groups[0]["lr"])
    return found


def test_a_paced_schedule_is_that_of_one_process() -> None:
    alone = rates(0, 1)
    assert alone[-1] == pytest.approx(0)
    assert succeed(rates, 2, 2) == [alone] * 2


def test_nobody_is_started_by_asking() -> None:
    """Outside of torch.distributed there is one rank, and nothing is sent."""
    pruner, loader = jobs.wrapped(InfoBatch(), SIZE, GLOBAL, epochs=4)
    jobs.epoch_of(pruner, loader, losses(SIZE, 4))
    (row,) = pruner.report().rows
    assert (row.bytes_sent, row.gathering_seconds, row.dropped) == (0, 0, 0)
    assert on_ranks(jobs.digest, 0) == []
