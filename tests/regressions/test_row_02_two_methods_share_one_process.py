"""Published code replaces `_BaseDataLoaderIter.__next__` for the whole process.

Each replacement tests for its own class, so the second to be imported makes the first yield tuples
of (index, batch), and a plain loader runs through a frozen copy of torch's private code.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import dataloader as torchs

from contracts.drive import named
from contracts.found import CLASSES
from thresher import Pruner

# Some methods would like to look again at what they leave out; nothing here depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:.*wants samples it left out")

SIZE, BATCH = 40, 8


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(torch.arange(SIZE), torch.arange(SIZE) * 2), BATCH, True)


def test_two_methods_share_one_process() -> None:
    before = {name: id(value) for name, value in vars(torchs._BaseDataLoaderIter).items()}
    pruners = [Pruner(kind(), epochs=4, seed=1) for kind in CLASSES]
    wrapped = [pruner.wrap(loader()) for pruner in pruners]
    for _ in range(3):
        # All loops take turns, batch by batch, with a plain one among them.
        running = [iter(each) for each in wrapped]
        planned = [list[int]() for _ in pruners]
        for x, y in loader():
            assert torch.equal(y, 2 * x)
            for number, (pruner, batches) in enumerate(zip(pruners, running, strict=True)):
                for ids, doubled in batches:
                    assert torch.equal(doubled, 2 * ids)
                    pruner.reduce(ids + 1.0, scores=named(pruner.method, ids + 1.0))
                    planned[number] += ids.tolist()
                    break
        for pruner, ids in zip(pruners, planned, strict=True):
            assert len(ids) == len(set(ids)) == pruner.report().rows[-1].planned
    assert before == {name: id(value) for name, value in vars(torchs._BaseDataLoaderIter).items()}
