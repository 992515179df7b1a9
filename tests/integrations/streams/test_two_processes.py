"""Two ranks choose among their parts of real streams: equal steps, paced rates, exact resume."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import datasets
import pytest
import torch
import torch.distributed as dist
import webdataset as wds
from datasets.distributed import split_dataset_by_node
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from integrations.streams.loops import EPOCHS, QUIET, B, N, loss_of
from parallel.processes import preload, succeed
from thresher import Pruner
from thresher.online import ImportanceSampling

pytestmark = QUIET
preload("datasets")
preload("webdataset")

T, RATE = 4, 0.1


def of_datasets(rank: int, size: int, shards: list[str]) -> tuple[Any, Any]:
    made = datasets.Dataset.from_dict({"id": list(range(N))}).to_iterable_dataset(num_shards=4)
    made = made.shuffle(seed=3, buffer_size=7)
    return split_dataset_by_node(made, rank, size), lambda batch: torch.as_tensor(batch["id"])


def of_webdataset(rank: int, size: int, shards: list[str]) -> tuple[Any, Any]:
    # In one order at every pass: its shuffles begin anew in a new process, and go on in an old one.
    made = wds.WebDataset(shards, nodesplitter=wds.split_by_node, shardshuffle=False)
    return made.decode(), lambda batch: torch.as_tensor(batch["cls"])


class Trained(NamedTuple):
    """What a rank tells."""

    batches: list[list[list[int]]]
    rates: list[float]
    weights: torch.Tensor
    trained: int
    leftover: float
    states: dict[int, Any]


def fit(rank: int, source: Any, shards: list[str], state: Any = None) -> Trained:
    """Train with DDP, keeping the state after each step of epoch 1; or go on from one of them."""
    stream, numbers = source(rank, dist.get_world_size(), shards)
    torch.manual_seed(0)
    linear = nn.Linear(1, 1)
    model = DistributedDataParallel(linear)
    optimizer = torch.optim.SGD(linear.parameters(), RATE)
    pruner = Pruner(ImportanceSampling(prune_ratio=0.5), epochs=EPOCHS)

    def score(batch: Any) -> dict[str, torch.Tensor]:
        return {"logit_grad_norm": loss_of(numbers(batch), 0)}

    plain = DataLoader(stream, B)
    loader: Any = pruner.wrap(plain, score_fn=score, steps_per_epoch=T)
    scheduler = pruner.pace(LambdaLR(optimizer, lambda step: 1 - step / (2 * T * EPOCHS)))
    parts = {"pruner": pruner, "linear": linear, "scheduler": scheduler, "optimizer": optimizer}
    for name, part in parts.items():
        if state is not None:
            part.load_state_dict(state[name])
    batches, rates, states, leftover = [], [], {}, 0.0
    for epoch in range(pruner.epoch, EPOCHS):
        batches.append([])
        for batch in loader:
            found = numbers(batch)
            losses = (model(found.float().view(-1, 1) / N) - 1).square().flatten()
            pruner.reduce(losses).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            scheduler.step()
            leftover += sum(float(p.grad.abs().sum()) for p in linear.parameters())
            batches[-1].append(found.tolist())
            if epoch == 1 and state is None:
                gathered = {"pruner": pruner.state_dict(gather=True)}
                others = {name: parts[name].state_dict() for name in parts if name != "pruner"}
                states[len(batches[1])] = copy.deepcopy({**gathered, **others})
        rates.append(optimizer.param_groups[0]["lr"])
    weights = torch.cat([p.detach().flatten() for p in linear.parameters()])
    return Trained(batches, rates, weights, pruner.report().trained, leftover, states)


def whole_and_resumed(rank: int, source: Any, shards: list[str]) -> tuple[Trained, Trained]:
    whole = fit(rank, source, shards)
    return whole, fit(rank, source, shards, whole.states[2])


@pytest.mark.parametrize("source", [of_datasets, of_webdataset])
def test_ranks_take_equal_steps_through_their_own_parts_and_resume(
    source: Any, shards: list[str]
) -> None:
    first, second = succeed(whole_and_resumed, 2, source, shards)
    seen = []
    for whole, resumed in (first, second):
        assert [len(epoch) for epoch in whole.batches] == [T] * EPOCHS
        assert resumed.batches == [whole.batches[1][2:], *whole.batches[2:]]
        assert torch.equal(resumed.weights, whole.weights)
        assert whole.rates == pytest.approx(
            [RATE * (1 - (k + 1) / 2 / EPOCHS) for k in range(EPOCHS)]
        )
        assert resumed.rates == whole.rates[1:]
        assert whole.leftover == 0
        seen.append({id_ for epoch in whole.batches for batch in epoch for id_ in batch})
    assert seen[0]
    assert not seen[0] & seen[1], "each rank has a part of its own"
    assert torch.equal(first[0].weights, second[0].weights)
    assert first[0].trained == second[0].trained == 2 * B * T * EPOCHS
