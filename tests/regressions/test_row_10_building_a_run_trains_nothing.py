"""Published constructors call `reset()`: an epoch that nobody trains.

Seeds and counters are one ahead, δ was tuned around that, the epoch is counted as pruned, and
`len(loader)` is an earlier epoch's until iteration starts.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from contracts.drive import losses, named
from contracts.found import CLASSES
from thresher import Pruner
from thresher.methods import Method

# Some methods would like to look again at what they leave out; nothing here depends on it.
pytestmark = pytest.mark.filterwarnings("ignore:.*wants samples it left out")

SIZE, BATCH, EPOCHS = 60, 8, 4

of_every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def prepared(kind: type[Method]) -> tuple[Pruner, DataLoader[tuple[torch.Tensor, ...]]]:
    pruner = Pruner(kind(), epochs=EPOCHS, seed=2)
    data = TensorDataset(torch.arange(SIZE))
    return pruner, pruner.wrap(DataLoader(data, BATCH, shuffle=True))


def epochs(pruner: Pruner, loader: DataLoader[tuple[torch.Tensor, ...]]) -> list[list[int]]:
    table, trained = losses(SIZE, EPOCHS), list[list[int]]()
    for epoch in range(EPOCHS):
        length, batches = len(loader), list[list[int]]()
        for (ids,) in loader:
            batches.append(ids.tolist())
            pruner.reduce(table[epoch][ids], scores=named(pruner.method, table[epoch][ids]))
        assert length == len(batches)
        trained.append([id_ for batch in batches for id_ in batch])
    return trained


@of_every_class
def test_building_a_run_trains_nothing(kind: type[Method]) -> None:
    pruner, loader = prepared(kind)
    assert pruner.epoch == 0
    assert pruner.report().rows == []
    assert pruner.report().trained == 0
    assert len(loader) == -(-len(pruner.plan(0)) // BATCH)
    assert pruner.epoch == 0


@of_every_class
def test_looking_at_a_run_changes_nothing_in_it(kind: type[Method]) -> None:
    expected = epochs(*prepared(kind))
    pruner, loader = prepared(kind)
    for _ in range(3):
        len(loader)
        next(iter(loader))
        list(loader.sampler)
        pruner.report()
        pruner.plan(0)
        pruner.state_dict()
    assert epochs(pruner, loader) == expected


@of_every_class
def test_report_counts_what_was_trained(kind: type[Method]) -> None:
    pruner, loader = prepared(kind)
    trained = sum(len(ids) for ids in epochs(pruner, loader))
    report = pruner.report()
    assert report.trained == report.planned == trained
    assert len(report.rows) == EPOCHS
    assert report.prune_rate == pytest.approx(1 - trained / (SIZE * EPOCHS))
