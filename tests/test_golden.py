"""One row per method: a small ledger and a seed, and the exact plan that comes of them.

These numbers say nothing about right or wrong; they say that plans have changed. A change here is a
change of every run that is repeated by its seed, and belongs in the changelog.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch

from contracts.found import CLASSES
from thresher import (
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    Full,
    HistoricalRanking,
    HistoricalReplacement,
    InfoBatch,
    Omission,
    OrderDP,
    PersistentImportance,
    RandomPruning,
    RandomWithinBatch,
    RePB,
    SeTa,
    Subset,
)
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.planning import Planner
from thresher.schedule import Budget
from thresher.windows import Importance

LOSS = [0.2, 3.0, 0.1, math.nan, 0.9, 0.3, 5.0, 0.4, 0.2, 0.8]


@dataclass(frozen=True, kw_only=True)
class Row:
    method: Method
    ids: list[int]
    weights: list[float]
    columns: dict[str, list[float]] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)


GOLDEN = [
    Row(method=Full(), ids=[9, 6, 0, 2, 5, 1, 3, 8, 4, 7], weights=[1.0] * 10),
    Row(method=RandomPruning(), ids=[9, 0, 1, 3, 8], weights=[1.0] * 5),
    Row(
        method=RandomPruning(mode="cycle"),
        columns={"visits": [2, 1, 1, 2, 1, 2, 2, 1, 2, 2]},
        ids=[0, 2, 1, 4, 7],
        weights=[1.0] * 5,
    ),
    Row(
        method=InfoBatch(),
        columns={"loss": LOSS},
        ids=[9, 6, 0, 1, 3, 8],
        weights=[2.33333325, 1.0, 2.33333325, 1.0, 1.0, 2.33333325],
    ),
    Row(
        method=RePB(rho=0.7),
        columns={
            "in_set": [1, 1, 0, 1, 1, 0, 1, 1, 0, 1],
            "below": [1, 0, 0, 0, 1, 0, 0, 1, 0, 1],
            "count": [3, 2, 1, 3, 2, 2, 3, 1, 1, 2],
        },
        ids=[9, 6, 5, 1, 3],
        weights=[1.5, 1.0, 1.5, 1.5, 1.0],
    ),
    Row(method=OrderDP(), columns={"loss": LOSS}, ids=[6, 1, 4], weights=[1.0] * 3),
    Row(
        method=Omission(),
        columns={"score": LOSS},
        ids=[6, 1, 3, 8, 4],
        weights=[0.5, 0.553520918, 0.920649827, 1.69959712, 0.964214623],
    ),
    Row(
        method=Omission(sampling="bernoulli"),
        columns={"score": LOSS},
        ids=[9, 6, 0, 1, 3],
        weights=[1.01461339, 0.5, 1.69959712, 0.553520918, 0.920649827],
    ),
    Row(
        method=Subset([4, 6, 0], [0.5, 2.0, 1.0]),
        columns={"member": [0] * 10, "weight": [1.0] * 10},
        ids=[6, 0, 4],
        weights=[2.0, 1.0, 0.5],
    ),
    Row(
        method=Subset([4, 6, 0], warmup_epochs=1),
        columns={
            "member": [0, 1, 0, 0, 1, 0, 0, 0, 0, 1],
            "weight": [1.0, 0.25, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.75],
        },
        scalars={"replaced": 1.0},
        ids=[9, 1, 4],
        weights=[0.75, 0.25, 0.5],
    ),
    Row(method=SeTa(), columns={"loss": LOSS}, ids=[9, 6, 1, 3, 4, 7], weights=[1.0] * 6),
    Row(
        method=SeTa(prune_ratio=0.5), columns={"loss": LOSS}, ids=[9, 6, 1, 3, 4], weights=[1.0] * 5
    ),
    Row(
        method=KAKURENBO(max_fraction=0.5),
        columns={"loss": LOSS, "sure": [1, 0, 1, 0, 1, 1, 1, 0, 1, 1]},
        ids=[9, 6, 1, 3, 4, 7],
        weights=[1.0] * 6,
    ),
    Row(
        method=EpsilonGreedy(epsilon=0.4),
        columns={"mean": LOSS},
        ids=[9, 6, 0, 1, 3],
        weights=[1.0] * 5,
    ),
    Row(
        method=EpsilonGreedy(period=2),
        columns={"mean": LOSS, "chosen": [0, 1, 1, 0, 1, 0, 0, 1, 0, 1]},
        ids=[9, 2, 1, 4, 7],
        weights=[1.0] * 5,
    ),
    Row(
        method=UCB(),
        columns={"mean": LOSS, "variance": [2.0, 0.1, 0.9, math.nan, 0, 0, 0.3, 0.8, 0.5, 0.1]},
        ids=[6, 0, 1, 3, 7],
        weights=[1.0] * 5,
    ),
    Row(
        method=Omission(large_batch=4),
        columns={"score": LOSS},
        ids=[9, 6, 5, 3, 4],
        weights=[1.07226062, 0.5, 1.55327094, 0.954696715, 0.848466039],
    ),
    Row(
        method=HistoricalReplacement(large_batch=4),
        columns={"score": LOSS},
        ids=[9, 1, 3, 4],
        weights=[1.8766973, 0.482745707, 0.804576159, 0.715049684],
    ),
    Row(
        method=HistoricalRanking(large_batch=4),
        columns={"score": LOSS},
        ids=[9, 6, 3, 4],
        weights=[1.0] * 4,
    ),
    Row(method=RandomWithinBatch(large_batch=4), ids=[9, 6, 1, 8, 4], weights=[1.0] * 5),
    Row(
        method=PersistentImportance(),
        columns={"importance": LOSS},
        ids=[6, 2, 1, 3, 4],
        weights=[0.5, 6.78581619, 0.5, 0.566516042, 0.762085617],
    ),
    Row(
        method=OrderDP(max_staleness=3),
        columns={"loss": LOSS, "age": [3, 0, 1, 2, 2, 4, 0, 0, 0, 1]},
        ids=[6, 0, 5],
        weights=[1.0] * 3,
    ),
    Row(
        method=RePB(rho=0.7, rule=Importance()),
        columns={
            "in_set": [1, 1, 0, 1, 1, 0, 1, 1, 0, 1],
            "score": [0.2, 3.0, math.nan, math.nan, 0.9, math.nan, 5.0, 0.4, math.nan, 0.8],
            "window": [0, 0, -1, -1, 1, -1, 0, 1, -1, 1],
            "count": [3, 2, 1, 3, 2, 2, 3, 1, 1, 2],
        },
        ids=[9, 5, 3],
        weights=[1.5, 1.5, 1.0],
    ),
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: repr(row.method))
def test_plan_of_epoch_3_under_seed_7_is(row: Row) -> None:
    size = len(LOSS)
    ledger = Ledger(size, row.method.columns(), row.method.scalars)
    assert row.columns.keys() == ledger.columns.keys()
    for name, values in row.columns.items():
        ledger[name].copy_(torch.tensor(values))
    ledger.scalars.update(row.scalars)
    budget = Budget(num_samples=size, epochs=12)
    plan = Planner(method=row.method, seed=7).plan(ledger, budget, epoch=3, visits=15)
    assert plan.ids.tolist() == row.ids
    assert plan.weights.tolist() == pytest.approx(row.weights, rel=1e-6)


def test_every_method_has_a_row() -> None:
    assert {type(row.method) for row in GOLDEN} == set(CLASSES)
