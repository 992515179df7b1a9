"""Published data sets hand every unknown attribute on to `self.dataset`.

While unpickling or deep-copying there is no `dataset` yet, so the lookup calls itself: spawned
workers and copies end in RecursionError.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from contracts.drive import losses
from thresher import InfoBatch, Pruner
from thresher.id_batches import IdBatch
from thresher.tagging import TaggedDataset

SIZE = 24


class Squares(Dataset[tuple[int, int]]):
    classes = ("even", "odd")

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index**2


class Delegates(Dataset[Any]):
    """The fault."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)


def train(pruner: Pruner, loader: DataLoader[Any]) -> list[int]:
    table, seen = losses(SIZE), list[int]()
    for ids, squares in loader:
        assert torch.equal(squares, ids**2)
        pruner.reduce(table[pruner.epoch][ids])
        seen += ids.tolist()
    return seen


def prepared(**settings: Any) -> tuple[Pruner, DataLoader[Any]]:
    pruner = Pruner(InfoBatch(), epochs=8)
    return pruner, pruner.wrap(DataLoader(Squares(), 5, shuffle=True, **settings))


@pytest.mark.parametrize("do", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_data_sets_survive_pickle_and_deepcopy(do: Any) -> None:
    with pytest.raises(RecursionError):
        do(Delegates(Squares()))
    again = do(TaggedDataset(Squares()))
    assert len(again) == SIZE
    assert again.classes == Squares.classes
    asked, samples = again.__getitems__(IdBatch(np.array([3, 1])))
    assert asked.ids.tolist() == [3, 1]
    assert samples == [(3, 9), (1, 1)]


def test_an_attribute_that_nobody_has_is_an_attribute_error() -> None:
    for data in (TaggedDataset(Squares()), object.__new__(TaggedDataset)):
        with pytest.raises(AttributeError):
            data.nobody_has_this  # noqa: B018


def test_spawned_workers_train_the_same_epochs() -> None:
    here = prepared()
    there = prepared(num_workers=1, multiprocessing_context="spawn", persistent_workers=True)
    for _ in range(2):
        assert train(*here) == train(*there)


def test_a_deep_copy_of_a_run_goes_its_own_way() -> None:
    pruner, loader = prepared()
    train(pruner, loader)
    other, others = copy.deepcopy((pruner, loader))
    seen = train(pruner, loader)
    assert other.epoch == 1
    assert train(other, others) == seen
