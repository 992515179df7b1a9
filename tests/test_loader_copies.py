"""Copies of a wrapped loader: within a process they work, and pickling one is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from loops import Numbers, flat, loss_of, train
from thresher import InfoBatch, Pruner
from thresher.errors import AlreadyWrappedError


class Named(DataLoader[Any]):
    """A subclass, as libraries write them."""

    name = "mine"


KINDS = pytest.mark.parametrize("kind", [DataLoader, Named])


def prepared(kind: Any = DataLoader, data: Any = None) -> tuple[Pruner, Any]:
    pruner = Pruner(InfoBatch(), epochs=8)
    return pruner, pruner.wrap(kind(data or Numbers(23), 4, shuffle=True))


@KINDS
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_wrapped_loader_refuses_to_be_pickled(kind: Any, protocol: int) -> None:
    """Before the run and in it, and in whatever holds it: it would be in nobody's run."""
    pruner, loader = prepared(kind)
    for _ in range(2):
        for what in (loader, {"loader": loader}, (loader, pruner)):
            with pytest.raises(AlreadyWrappedError, match=r"Pickle the plain loader and wrap it"):
                pickle.dumps(what, protocol)
        train(pruner, loader, 0)


@KINDS
def test_the_cure_works(kind: Any) -> None:
    """The plain loader travels, is wrapped there, and the state carries the run over."""
    plain = kind(Numbers(23), 4, shuffle=True)
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(plain)
    train(pruner, loader, 0)
    there = Pruner(InfoBatch(), epochs=8)
    travelled: Any = there.wrap(pickle.loads(pickle.dumps(plain)))
    there.load_state_dict(pruner.state_dict())
    for epoch in (1, 2):
        assert train(there, travelled, epoch) == train(pruner, loader, epoch)


@KINDS
def test_a_deep_copy_with_its_pruner_goes_its_own_way(kind: Any) -> None:
    pruner, loader = prepared(kind)
    train(pruner, loader, 0)
    other, twin = copy.deepcopy((pruner, loader))
    assert type(twin) is type(loader)
    seen = [train(pruner, loader, epoch) for epoch in (1, 2)]
    assert other.epoch == 1
    assert [train(other, twin, epoch) for epoch in (1, 2)] == seen


@KINDS
def test_a_shallow_copy_is_of_the_same_run(kind: Any) -> None:
    pruner, loader = prepared(kind)
    twin = copy.copy(loader)
    twin.label = "changed"
    assert not hasattr(loader, "label")
    assert len(flat(train(pruner, twin, 0))) == 23
    assert pruner.epoch == 1


class Folded(TensorDataset):
    """A data set that says how it is to be copied."""

    def __deepcopy__(self, memo: Any) -> Folded:
        return Folded(*self.tensors)


@pytest.mark.parametrize(
    "data", [torch.arange(23), Folded(torch.arange(23))], ids=["tensor", "own"]
)
def test_a_data_set_that_copies_itself_is_copied_with_its_ids(data: Any) -> None:
    """A tensor is a data set too; its `__deepcopy__` is not that of what makes ids of it."""
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(DataLoader(data, 4, shuffle=True))
    other, twin = copy.deepcopy((pruner, loader))
    trained = list[Tensor]()
    for batch in twin:
        trained.append(batch if isinstance(batch, Tensor) else batch[0])
        other.reduce(loss_of(trained[-1], 0))
    assert torch.cat(trained).tolist() == pruner.plan(0).ids.tolist()
