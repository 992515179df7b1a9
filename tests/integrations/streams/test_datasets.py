"""Streams of the real `datasets`."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from integrations.streams.loops import (
    QUIET,
    B,
    N,
    Run,
    assert_looks_at_everything_once,
    assert_resumes_anywhere,
    assert_trains_what_is_planned,
)
from thresher import InfoBatch, OrderDP, RePB
from thresher.errors import IterableDatasetError, StreamIdError
from thresher.online import OrderedTopQ, SelectiveBackprop

pytestmark = QUIET


def stream(epoch: int = 0) -> Any:
    """Forty samples in four shards, shuffled anew in each epoch, mapped, with a column of ids."""
    rows = {"id": list(range(N)), "text": [f"number {number}" for number in range(N)]}
    made = datasets.Dataset.from_dict(rows).to_iterable_dataset(num_shards=4)
    made = made.shuffle(seed=3, buffer_size=7).map(lambda row: {"length": len(row["text"])})
    made.set_epoch(epoch)
    return made


def numbers(batch: Any) -> Tensor:
    assert [f"number {number}" for number in torch.as_tensor(batch["id"]).tolist()] == batch["text"]
    return torch.as_tensor(batch["id"])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", [OrderDP(prune_ratio=0.4), RePB(prune_ratio=0.3, window=2)])
def test_a_plan_keeps_by_the_column_of_ids(method: Any, workers: int) -> None:
    run = Run(method, DataLoader(stream(), B, num_workers=workers), numbers, ids="id")
    assert_trains_what_is_planned(run, lambda: {number: number for number in range(N)})


def test_strings_do_as_ids() -> None:
    run = Run(OrderDP(prune_ratio=0.4), DataLoader(stream(), B), numbers, ids="text")
    keys = run.pruner._clock.keys  # type: ignore[union-attr]

    def rows() -> dict[int, int]:
        names = [f"number {number}" for number in range(N)]
        return dict(enumerate(keys.rows(names, N).tolist()))

    assert_trains_what_is_planned(run, rows)


def test_batches_that_the_data_set_makes() -> None:
    plain = DataLoader(stream().batch(6), None)
    run = Run(OrderDP(prune_ratio=0.4), plain, numbers, ids="id", batch_size=B)
    assert_trains_what_is_planned(run, lambda: {number: number for number in range(N)})


@pytest.mark.parametrize("workers", [0, 2])
def test_an_online_method_looks_at_everything_once(workers: int) -> None:
    plain = DataLoader(stream(), B, num_workers=workers)
    assert_looks_at_everything_once(Run(OrderedTopQ(prune_ratio=0.5), plain, numbers))


@pytest.mark.parametrize("method", [OrderDP(prune_ratio=0.4), SelectiveBackprop(prune_ratio=0.4)])
def test_a_run_resumes_after_any_batch(method: Any) -> None:
    ids: dict[str, Any] = {} if method.family == "online" else {"ids": "id"}
    assert_resumes_anywhere(lambda epoch: Run(method, DataLoader(stream(epoch), B), numbers, **ids))


def test_indices_that_a_map_counts_in_each_shard_are_found_out() -> None:
    """`with_indices` of a stream counts anew in each worker's part, so its numbers are no ids."""
    counted = stream().map(lambda row, index: {"place": index}, with_indices=True)
    plain = DataLoader(counted, B, num_workers=2)
    run = Run(InfoBatch(), plain, numbers, ids="place")
    with pytest.raises(StreamIdError, match="twice in one pass"):
        list(run.epoch(0))


def test_without_either_it_is_refused_by_name() -> None:
    with pytest.raises(IterableDatasetError, match=r"IterableDataset has no sample ids.*ids='id'"):
        Run(InfoBatch(), DataLoader(stream(), B), numbers)
