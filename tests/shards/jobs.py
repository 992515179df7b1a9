"""What every shard of a test does, thread or process: reductions, and a run of each method."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from contracts.drive import losses
from contracts.found import CLASSES
from shards.runs import planned
from thresher import Omission, OrderDP, RandomPruning, SeTa
from thresher.methods import Method
from thresher.parallel.sharded import Sharded
from thresher.parallel.transport import Distributed
from thresher.population import Population

METHODS: list[Method] = [
    *(kind() for kind in CLASSES),
    Omission(sampling="bernoulli", prune_ratio=0.3),
    OrderDP(max_staleness=2),
    RandomPruning(mode="cycle"),
    SeTa(r=0.0),
]
SIZE, EPOCHS = 1501, 2


def answers(population: Population) -> list[float]:
    """Reductions of values of a wide range."""
    shard, random = population.shard, np.random.default_rng(0)
    values = (random.normal(size=997) * 10.0 ** random.integers(-30, 30, 997)).astype(np.float32)
    own = values[shard.index :: shard.count]
    return [
        population.sum(own),
        population.mean(own, own > 0),
        float(population.kth(own, None, 500)),
        float(population.kth(own.astype(np.float64), own < 0, 7)),
        population.plus(float(shard.index)),
        *population.extremes(own),
        *population.added_floats(np.full(3, 0.1 * (1 + shard.index))).tolist(),
    ]


def plans(population: Population) -> list[list[tuple[list[int], list[float], int]]]:
    """Of methods the plans of a run: ids, weights, and the samples on all shards.

    Of all on four shards, of some on two: a call takes a millisecond where ranks share a core.
    """
    table = losses(SIZE, 10)
    return [
        [
            (plan.ids.tolist(), plan.weights.tolist(), plan.num_planned)
            for plan in planned(method, table, population, epochs=EPOCHS, batch_size=50)
        ]
        for method in METHODS[:: 4 // population.shard.count * 2 - 1]
    ]


def of_processes(rank: int, world_size: int, store: str) -> dict[int, tuple[object, ...]]:
    """By how many ranks share the samples: what this one found, and what it sent."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    found: dict[int, tuple[object, ...]] = {}
    for count in (2, world_size):
        group = dist.new_group(list(range(count)))
        if rank < count:
            transport = Distributed(group)
            population = Sharded(transport)
            found[count] = (answers(population), plans(population), transport.bytes_sent)
            assert transport.seconds > 0
    dist.barrier()
    dist.destroy_process_group()
    return found
