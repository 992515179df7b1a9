"""Streams of the real WebDataset, from shards on the disk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader

from integrations.streams.loops import (
    QUIET,
    B,
    N,
    Run,
    assert_looks_at_everything_once,
    assert_trains_what_is_planned,
)
from thresher import OrderDP
from thresher.errors import SamplerError, StreamIdError
from thresher.online import OrderedTopQ

pytestmark = QUIET


def stream(shards: list[str]) -> Any:
    return wds.WebDataset(shards, shardshuffle=4, seed=1).shuffle(7).decode()


def numbers(batch: Any) -> Tensor:
    names, classes = batch["__key__"], torch.as_tensor(batch["cls"])
    assert [int(name) for name in names] == classes.tolist()
    return classes


def pairs(batch: Any) -> Tensor:
    names, classes = batch
    assert [int(name) for name in names] == classes.tolist()
    return torch.as_tensor(classes)


def rows_of(run: Run) -> Any:
    keys = run.pruner._clock.keys  # type: ignore[union-attr]
    names = [f"{number:04d}" for number in range(N)]
    return lambda: dict(enumerate(keys.rows(names, N).tolist()))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plan_keeps_by_key(shards: list[str], workers: int) -> None:
    plain = DataLoader(stream(shards), B, num_workers=workers)
    run = Run(OrderDP(prune_ratio=0.4, warmup_epochs=1), plain, numbers, ids="__key__")
    assert_trains_what_is_planned(run, rows_of(run))


@pytest.mark.parametrize("as_pairs", [False, True])
def test_batches_that_the_pipeline_makes(shards: list[str], as_pairs: bool) -> None:
    made, of, ids = stream(shards), numbers, "__key__"
    if as_pairs:
        made, of, ids = made.to_tuple("__key__", "cls"), pairs, lambda batch: batch[0]
    run = Run(
        OrderDP(prune_ratio=0.4, warmup_epochs=1),
        DataLoader(made.batched(6), None),
        of,
        ids=ids,
        batch_size=B,
    )
    assert_trains_what_is_planned(run, rows_of(run))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_batched", [False, True])
def test_an_online_method_looks_at_everything_once(
    shards: list[str], workers: int, is_batched: bool
) -> None:
    made = stream(shards).batched(6) if is_batched else stream(shards)
    plain = DataLoader(made, None if is_batched else B, num_workers=workers)
    asked = {"batch_size": B} if is_batched else {}
    assert_looks_at_everything_once(Run(OrderedTopQ(prune_ratio=0.5), plain, numbers, **asked))


def test_an_endless_stream_has_epochs_of_so_many_batches(shards: list[str]) -> None:
    made = wds.WebDataset(shards, resampled=True, shardshuffle=False).decode()
    run = Run(OrderedTopQ(prune_ratio=0.5), DataLoader(made, B), numbers, steps_per_epoch=7)
    for epoch in range(3):
        assert len(run.loader) == 7 == len(list(run.epoch(epoch)))
    assert run.pruner.report().passed == 3 * 7 * 2 * B
    again = Run(OrderDP(prune_ratio=0.4), DataLoader(made, B), numbers, ids="__key__")
    with pytest.raises(StreamIdError, match="twice in one pass"):
        list(again.epoch(0))


def test_its_own_loader_is_refused_by_name(shards: list[str]) -> None:
    with pytest.raises(SamplerError, match="wrap got a WebLoader"):
        Run(OrderedTopQ(), wds.WebLoader(stream(shards), batch_size=B), numbers)
