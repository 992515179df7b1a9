"""Ranks with a shard each, through Pruner, wrap and reduce: equal steps, and true gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from contracts.drive import losses, run
from contracts.found import CLASSES, short
from parallel import jobs, shard_jobs
from parallel.processes import succeed
from parallel.shard_jobs import Step, Told
from thresher import (
    KAKURENBO,
    UCB,
    Full,
    InfoBatch,
    Method,
    Pruner,
    RePB,
    SeTa,
    Subset,
)

SIZE, EPOCHS, BATCH = 61, 3, 4
DEFAULTS: list[Method] = [kind() for kind in CLASSES]
SOME = DEFAULTS[::3]
# Each chooses by its ledger alone, once it has seen everybody.
DETERMINISTIC: list[Method] = [
    Full(),
    Subset([*range(0, 60, 7), 1, 2], [0.5 + k / 9 for k in range(11)]),
    KAKURENBO(max_fraction=0.4),
    KAKURENBO(prune_ratio=0.3),
    UCB(warmup_epochs=1),
    UCB(prune_ratio=0.3, warmup_epochs=1),
    RePB(rho=1.0, window=None, resample=False),
]
WARNS = pytest.mark.filterwarnings("ignore:.* cannot save ")


def job(name: str, *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return getattr(shard_jobs, name), arguments


GRADIENTS: dict[str, tuple[Method, int, int, int, float, dict[str, Any]]] = {
    "uneven shards": (RePB(rho=0.5, window=2), 45, 3, 3, math.nan, {}),
    "weighted": (InfoBatch(), 45, 3, 3, math.inf, {}),
    "smaller than the world": (InfoBatch(), 3, 2, 3, math.nan, {}),
    "a sample less": (Full(), 7, 1, 3, math.inf, {}),
    "a shard without samples": (
        Subset([0, 4, 8, 12, 16], [1.0, 2, 3, 4, 5]),
        20,
        2,
        3,
        math.nan,
        {},
    ),
    "full batches": (InfoBatch(), 45, 3, 3, math.nan, {"drop_last": True}),
    "without remainder": (InfoBatch(), 45, 3, 3, math.nan, {"remainder": "drop"}),
    "step exponent": (
        RePB(rho=0.5),
        45,
        3,
        3,
        math.nan,
        {"settings": {"step_exponent": 0.5, "always_keep": [1, 2], "max_weight": 2.0}},
    ),
}
"""Method, samples, batch, epochs, losses of samples that only fill a step, and options."""


@pytest.fixture(scope="module", params=[2, 4])
def found(request: pytest.FixtureRequest) -> tuple[int, list[dict[str, Any]]]:
    """All runs on so many ranks, in one launch."""
    calls = {
        "deterministic": job("runs", DETERMINISTIC, SIZE, BATCH, EPOCHS, {}),
        "defaults": job("runs", DEFAULTS, SIZE, BATCH, EPOCHS, {}),
        "small": job("runs", SOME, 3, 2, 3, {}),
        "refreshed": job("refreshed", KAKURENBO(prune_ratio=0.4, tau=0.1), SIZE, BATCH, EPOCHS),
        **{name: job("gradients", *given) for name, given in GRADIENTS.items()},
    }
    return request.param, succeed(shard_jobs.all_of, request.param, calls)


def of_runs(found: list[dict[str, Any]], name: str, methods: list[Method]) -> Any:
    """Of each method: of each epoch what all ranks tell, and of each rank the rows."""
    for k, method in enumerate(methods):
        told = [each[name][k][0] for each in found]
        yield method, list(zip(*told, strict=True)), [each[name][k][1] for each in found]


@WARNS
def test_a_deterministic_rule_keeps_the_samples_and_weights_of_one_process(
    found: tuple[int, list[dict[str, Any]]],
) -> None:
    table = losses(SIZE, EPOCHS)
    for method, epochs, _ in of_runs(found[1], "deterministic", DETERMINISTIC):
        alone, others = (run(method, table, seed=seed)[1] for seed in (0, 3))
        assert min(len(plan) for plan in alone) < SIZE or isinstance(method, Full)
        for number, (plan, other) in enumerate(zip(alone, others, strict=True)):
            weights = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))
            assert sorted(weights) == sorted(other.ids.tolist()), "it draws nothing"
            told: list[Told] = epochs[number]
            ours = {id_: w for each in told for id_, w in zip(each.ids, each.weights, strict=True)}
            assert ours == weights, short(method)


@WARNS
@pytest.mark.parametrize("name", ["deterministic", "defaults", "small"])
def test_all_ranks_take_the_steps_that_were_said_and_train_everybody_once(
    name: str, found: tuple[int, list[dict[str, Any]]]
) -> None:
    world_size, ranks = found
    methods = {"deterministic": DETERMINISTIC, "defaults": DEFAULTS}.get(name, SOME)
    size, batch = (3, 2) if name == "small" else (SIZE, BATCH)
    for method, epochs, rows in of_runs(ranks, name, methods):
        for number, told in enumerate(epochs):
            assert len({len(each.batches) for each in told}) == 1, short(method)
            assert {each.length for each in told} == {len(told[0].batches)}
            planned = [id_ for each in told for id_ in each.ids]
            assert len(planned) == len(set(planned)) <= size
            assert {each.planned for each in told} == {len(planned)}
            for rank, each in enumerate(told):
                assert {id_ % world_size for id_ in each.ids} <= {rank}
                trained = [id_ for ids in each.batches for id_ in ids]
                real = [id_ for id_ in trained if id_ in set(each.ids)]
                assert real == each.ids, "in the order of the plan, and once"
                assert max(map(len, each.batches)) <= batch
                spare = [ids for ids in each.batches if not set(ids) & set(each.ids)]
                assert all(len(ids) == 1 for ids in spare)
                assert len(trained) == len(real) + len(spare)
            row = rows[0][number]
            assert (row.planned, row.trained, row.dropped) == (len(planned), len(planned), 0)
            assert row.bytes_sent > 0 < row.gathering_seconds
            assert row.planning_seconds > 0
        facts = [
            [(r.planned, r.trained, r.weight_mean, r.weight_max) for r in each] for each in rows
        ]
        assert all(each == facts[0] for each in facts), "a report is of all ranks"


@WARNS
def test_methods_with_an_exact_rate_keep_it_over_all_ranks(
    found: tuple[int, list[dict[str, Any]]],
) -> None:
    table = losses(SIZE, EPOCHS)
    for method, epochs, _ in of_runs(found[1], "defaults", DEFAULTS):
        if type(method).has_exact_rate:
            for plan, told in zip(run(method, table)[1], epochs, strict=True):
                assert abs(told[0].planned - len(plan)) <= 1, short(method)


def expected(steps: list[Step]) -> torch.Tensor:
    """The gradient of the weighted mean over what all ranks trained in a step."""
    ids = torch.tensor([id_ for step in steps for id_ in step.ids])
    weights = torch.tensor([weight for step in steps for weight in step.weights])
    linear = jobs.model()
    x, y = jobs.features(ids)
    (F.cross_entropy(linear(x), y, reduction="none") * weights).mean().backward()
    return torch.cat([p.grad.reshape(-1) for p in linear.parameters()])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_gradient_is_that_of_the_weighted_mean_over_the_global_batch(
    name: str, found: tuple[int, list[dict[str, Any]]]
) -> None:
    """Whatever the losses of the samples are that only fill a step: NaN, infinite."""
    _, ranks = found
    _, _, batch, _, _, options = GRADIENTS[name]
    by_rank: list[list[Step]] = [each[name] for each in ranks]
    assert len({len(steps) for steps in by_rank}) == 1
    for steps in zip(*by_rank, strict=True):
        wanted = expected(list(steps))
        for step in steps:
            torch.testing.assert_close(step.gradient, wanted, rtol=0, atol=1e-6)
            assert len(step.ids) == batch or not options.keys() & {"drop_last", "remainder"}
    has_spares = any(not step.ids for steps in by_rank for step in steps)
    tiny = {"smaller than the world", "a sample less", "a shard without samples"}
    assert has_spares == (name in tiny and (name, len(ranks)) != ("smaller than the world", 2))


def test_hidden_samples_are_scored_by_who_remembers_them_in_equal_passes(
    found: tuple[int, list[dict[str, Any]]],
) -> None:
    world_size, ranks = found
    method = KAKURENBO(prune_ratio=0.4, tau=0.1)
    told, forwards, calls = zip(*[each["refreshed"] for each in ranks], strict=True)
    assert all(each == forwards[0] for each in forwards)
    assert all(each == calls[0] for each in calls), "a model that talks must not wait"
    hidden = []
    for number in range(EPOCHS):
        kept = {id_ for rank in told for id_ in rank[number].ids}
        hidden.append(SIZE - len(kept))
    assert forwards[0] == [*hidden[:-1], 0]
    assert sum(forwards[0]) > 0
    # Each time as many as the shard with the most has.
    assert sum(forwards[0]) <= world_size * sum(calls[0]) < 2 * sum(forwards[0])
    alone, forwards_alone, _ = shard_jobs.refreshed(0, method, SIZE, BATCH, EPOCHS)
    assert forwards_alone == forwards[0]
    for number, epoch in enumerate(alone):
        assert sorted(epoch.ids) == sorted(id_ for rank in told for id_ in rank[number].ids)


@pytest.mark.parametrize("method", [InfoBatch(), RePB(rho=0.5), SeTa(prune_ratio=0.3)], ids=short)
def test_one_process_is_the_only_shard(method: Method) -> None:
    table = losses(SIZE, 4)
    plans = []
    for shard in (False, True):
        pruner, loader = jobs.wrapped(method, SIZE, BATCH, epochs=4, settings={"shard": shard})
        plans.append([jobs.epoch_of(pruner, loader, table) for _ in range(4)])
    assert plans[0] == plans[1]
    assert Pruner(method, epochs=4, shard=True).settings.shard
