"""With `dispatch_batches` one rank reads for all, and each trains what it would have read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from integrations import by_hand
from integrations.accelerate.runs import accelerator_of
from integrations.by_hand import BATCH, SIZE
from parallel.processes import Raised, on_ranks, preload, succeed
from thresher.errors import SettingError
from thresher.integrations.accelerate import wrap
from thresher.online import OrderedTopQ

preload("accelerate")

_BROKEN = 31


class Counted(Dataset[dict[str, Any]]):
    """Samples that are no tensors alone, and how many this process was asked for."""

    def __init__(self, broken: int | None = None) -> None:
        self.read = 0
        self._broken = broken

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, id_: int) -> dict[str, Any]:
        if id_ == self._broken:
            raise OSError("the disk is gone")
        self.read += 1
        return {"text": f"sample {id_}", "id": torch.tensor(id_)}


def passed(
    rank: int, dispatch: bool, workers: int, batched: bool
) -> tuple[int, list[tuple[list[str], list[int]]]]:
    """What this rank read, and the texts and ids of its batches of two epochs."""
    data, pruner = Counted(), by_hand.pruner_of()
    accelerator = accelerator_of(dispatch_batches=dispatch)
    options: dict[str, Any] = {"batch_size": BATCH} if batched else {"batch_size": None}
    persistent = {"num_workers": workers, "persistent_workers": workers > 0}
    loader = wrap(accelerator, pruner, DataLoader(data, shuffle=True, **options, **persistent))
    found = []
    for _ in range(2):
        for batch in loader:
            ids = batch["id"].reshape(-1)
            texts = batch["text"] if batched else [batch["text"]]
            pruner.reduce(ids.float())
            found.append((list(texts), ids.tolist()))
    return data.read, found


@pytest.mark.parametrize("batched", [True, False])
def test_one_rank_reads_and_each_gets_its_own_batches(batched: bool) -> None:
    apart = succeed(passed, 2, False, 0, batched)
    dispatched = succeed(passed, 2, True, 0, batched)
    assert [batches for _, batches in dispatched] == [batches for _, batches in apart]
    assert [read for read, _ in dispatched] == [sum(read for read, _ in apart), 0]
    for _, batches in dispatched:
        assert all(texts == [f"sample {id_}" for id_ in ids] for texts, ids in batches)


def test_workers_of_the_reader_change_nothing() -> None:
    # Persistent ones, which begin each epoch anew, and whose reads this process does not see.
    with_workers, without = (succeed(passed, 2, True, count, True) for count in (1, 0))
    assert [found for _, found in with_workers] == [found for _, found in without]


def broken(rank: int) -> None:
    pruner = by_hand.pruner_of()
    loader = DataLoader(Counted(_BROKEN), BATCH, shuffle=True)
    for batch in wrap(accelerator_of(dispatch_batches=True), pruner, loader):
        pruner.reduce(batch["id"].float())


def test_what_the_reader_cannot_read_stops_every_rank_with_the_reason() -> None:
    reader, other = on_ranks(broken, 2)
    assert isinstance(reader, Raised)
    assert reader.kind == "OSError"
    assert isinstance(other, Raised)
    assert other.kind == "RanksDisagreeError"
    assert "Rank 0, which reads for all ranks, failed: OSError: the disk is gone" in other.message


def begun(rank: int, sizes: tuple[int, int], spawned: bool) -> None:
    """A pass that cannot begin: workers cannot be given the data, or ranks have other data."""
    pruner = by_hand.pruner_of()
    data: Any = [*range(sizes[rank])]
    workers: dict[str, Any] = {}
    if spawned:
        data = [lambda: None] * sizes[rank]
        workers = {"num_workers": 1, "multiprocessing_context": "spawn"}
    loader = DataLoader(data, BATCH, shuffle=True, **workers)
    next(iter(wrap(accelerator_of(dispatch_batches=True), pruner, loader)))


def test_a_pass_that_cannot_begin_keeps_nobody_waiting() -> None:
    reader, other = on_ranks(begun, 2, (SIZE, SIZE), True)
    assert isinstance(reader, Raised)
    assert isinstance(other, Raised)
    assert "pickle" in reader.message.lower()
    assert other.kind == "RanksDisagreeError"
    assert "pickle" in other.message.lower()
    for each in on_ranks(begun, 2, (SIZE, 2 * SIZE), False):
        assert isinstance(each, Raised)
        assert each.kind == "RanksDisagreeError"


def scored(rank: int) -> None:
    pruner = by_hand.pruner_of(method=OrderedTopQ())
    loader = DataLoader(by_hand.data(), BATCH, shuffle=True)
    wrap(accelerator_of(dispatch_batches=True), pruner, loader, score_fn=lambda batch: batch)


def test_scoring_passes_are_refused_by_name_on_every_rank() -> None:
    message = "dispatch_batches=True.*score_fn.*each rank reads them"
    with pytest.raises(SettingError, match=message):
        scored(0)
    for each in on_ranks(scored, 2):
        assert isinstance(each, Raised)
        assert "dispatch_batches=True) with score_fn=..., for whose passes" in each.message
