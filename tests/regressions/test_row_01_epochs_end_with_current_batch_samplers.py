"""Published samplers return themselves from `__iter__` and prune there.

Since October 2024 torch's BatchSampler asks for `iter(sampler)` for every batch, or once and zips:
so such an epoch never ends, or begins anew in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, TensorDataset

from contracts.drive import named
from contracts.found import CLASSES
from thresher import Pruner
from thresher.methods import Method

# Some methods would like to look again at what they leave out; nothing here depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:.*wants samples it left out")

SIZE, BATCH = 61, 8


class ReturnsItself(Sampler[int]):
    """The fault: every `iter` starts the epoch again."""

    def __init__(self) -> None:
        self.epochs = -1

    def __iter__(self) -> Iterator[int]:
        self.epochs += 1
        self.ids = iter(range(SIZE))
        return self

    def __next__(self) -> int:
        return next(self.ids)


def test_the_fault_shows_with_this_torch() -> None:
    endless = BatchSampler(ReturnsItself(), BATCH, drop_last=False)
    assert len(list(islice(endless, 100))) == 100, "8 batches hold everything"


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_epochs_end_with_current_batch_samplers(kind: type[Method], drop_last: bool) -> None:
    data = TensorDataset(torch.arange(SIZE))
    pruner = Pruner(kind(), epochs=5)
    loader = pruner.wrap(DataLoader(data, BATCH, shuffle=True, drop_last=drop_last))
    for epoch in range(5):
        expected, seen = len(loader), list[int]()
        for (ids,) in islice(loader, 100):
            pruner.reduce(ids.float() + 1, scores=named(pruner.method, ids.float() + 1))
            seen += ids.tolist()
        planned = pruner.report().rows[epoch].planned
        whole = planned // BATCH * BATCH if drop_last else planned
        assert len(seen) == len(set(seen)) == whole
        assert expected == -(-whole // BATCH)
        assert pruner.epoch == epoch + 1


@pytest.mark.parametrize("drop_last", [False, True])
def test_sampler_starts_anew_for_whoever_iterates_it(drop_last: bool) -> None:
    """`list(it)` twice, BatchSampler's islice and its zip give the same epoch's ids."""
    pruner = Pruner(CLASSES[0](), epochs=3)
    loader = pruner.wrap(DataLoader(TensorDataset(torch.arange(SIZE)), BATCH, shuffle=True))
    sampler = loader.sampler
    once, twice = list(sampler), list(sampler)
    assert once == twice
    batches = list(islice(BatchSampler(sampler, BATCH, drop_last), 100))
    left = SIZE // BATCH * BATCH if drop_last else SIZE
    assert [id_ for batch in batches for id_ in batch] == once[:left]
    first, second = iter(sampler), iter(sampler)
    assert first is not second
    assert [next(first), next(first)] == [next(second), next(second)]
    assert pruner.epoch == 0
