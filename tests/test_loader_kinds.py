"""Loaders and data sets of many kinds: subclasses, worker state, errors on the way."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, get_worker_info

from loops import (
    Everything,
    Numbers,
    assert_trains_its_plans,
    flat,
    ledger_losses,
    loss_of,
    losses_by_id,
    train,
    wrapped,
)
from thresher import InfoBatch, Pruner
from thresher.errors import NotIteratedError
from thresher.tagging import TaggedDataset


class DoublingLoader(DataLoader[Any]):
    """A loader as libraries write them: attributes, a collate and an `__iter__` of its own."""

    def __init__(self, dataset: Any, factor: int, **settings: Any) -> None:
        self.factor = factor
        # Names that a wrapper might take for its own.
        self._inner, self._clock, self._batches, self._passes = "mine", "mine", "mine", "mine"
        super().__init__(dataset, collate_fn=self.collate, **settings)

    def collate(self, samples: list[Tensor]) -> dict[str, Tensor]:
        return {"number": torch.stack(samples)}

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            yield self.moved(batch)

    def moved(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"doubled": self.factor * batch["number"], **batch}

    def stop(self, *_: Any) -> str:
        return "mine"

    num_batches = 3


class HalvingLoader(DoublingLoader):
    """A subclass of the subclass."""

    def moved(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"half": batch["number"] / 2, **super().moved(batch)}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", [DoublingLoader, HalvingLoader])
def test_a_subclass_keeps_its_attributes_its_collate_and_its_iter(
    kind: type[DoublingLoader], num_workers: int
) -> None:
    plain = kind(Numbers(23), 2, batch_size=4, shuffle=True, num_workers=num_workers)
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(plain)
    assert isinstance(loader, kind)
    assert loader.factor == 2
    assert {loader._inner, loader._clock, loader._batches, loader._passes} == {"mine"}
    assert (loader.num_batches, loader.stop()) == (3, "mine")

    def ids_in(batch: dict[str, Tensor]) -> Tensor:
        assert batch.keys() == {"doubled", "number"} | (
            {"half"} if kind is HalvingLoader else set()
        )
        return batch["doubled"] // 2

    plans = assert_trains_its_plans(pruner, loader, batch_size=4, ids_in=ids_in)
    assert len(plans[1]) < 23
    assert type(plain) is kind


def test_a_subclass_that_iterates_around_thresher_is_refused_at_its_first_loss() -> None:
    class Sideways(DataLoader[Any]):
        def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
            for ids in self.batch_sampler:
                yield torch.tensor(ids)

    pruner = Pruner(Everything(), epochs=8)
    loader = pruner.wrap(Sideways(Numbers(12), 3, shuffle=True))
    batches = [batch.tolist() for batch in loader]
    assert flat(batches) == pruner.plan(0).ids.tolist()
    with pytest.raises(NotIteratedError, match=r"give the ids: pruner.reduce\(losses, ids=ids\)"):
        train(pruner, loader, 0)
    for batch in loader:
        pruner.reduce(loss_of(batch, 0), ids=batch)
    assert losses_by_id(pruner) == {id_: id_ + 1 for id_ in range(12)}


class Bulk(Numbers):
    """Fetches whole batches, as the data sets of Hugging Face do, and only whole batches."""

    def __getitem__(self, index: int) -> Tensor:
        raise AssertionError("a single sample was fetched")

    def __getitems__(self, ids: list[int]) -> list[Tensor]:
        return [torch.tensor(id_) for id_ in ids]


class Sorting(Numbers):
    """Reorders the list it is given, as data sets on disk do to read it in one sweep."""

    def __getitems__(self, ids: list[int]) -> list[Tensor]:
        ids.sort()
        return [torch.tensor(id_) for id_ in ids]


class FromSubset(Numbers):
    """Shows that `Subset` reaches the data set below it in one call."""

    def __getitems__(self, ids: list[int]) -> list[Tensor]:
        return [torch.tensor(id_ - 30) for id_ in ids]


DATA: dict[str, Any] = {
    "list": list(range(23)),
    "tensor": torch.arange(23),
    "range": range(23),
    "TensorDataset": TensorDataset(torch.arange(23)),
    "Subset": Subset(Numbers(23), range(23)),
    "Subset of __getitems__": Subset(FromSubset(60), range(30, 53)),
    "ConcatDataset": ConcatDataset(
        [Subset(Numbers(23), range(9)), Subset(Numbers(23), range(9, 23))]
    ),
    "__getitems__": Bulk(23),
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_data_sets_of_every_kind_keep_their_ids(data: Any, num_workers: int) -> None:
    pruner = Pruner(InfoBatch(), epochs=8)
    loader: Any = pruner.wrap(DataLoader(data, 4, shuffle=True, num_workers=num_workers))
    assert loader.dataset is data
    assert_trains_its_plans(
        pruner,
        loader,
        batch_size=4,
        epochs=2,
        ids_in=lambda batch: batch[0] if isinstance(batch, list) else batch,
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_data_set_may_reorder_the_ids_of_a_batch(num_workers: int) -> None:
    pruner = Pruner(InfoBatch(), epochs=8)
    loader = pruner.wrap(DataLoader(Sorting(23), 4, shuffle=True, num_workers=num_workers))
    for epoch in range(3):
        trained = train(pruner, loader, epoch)
        plan = pruner.plan(epoch).ids.tolist()
        assert trained == [sorted(plan[k : k + 4]) for k in range(0, len(plan), 4)]
        assert losses_by_id(pruner) == {id_: 1000 * epoch + id_ + 1 for id_ in plan}


class Scaled(Numbers):
    """Has state that a `worker_init_fn` sets up: an attribute, and one named `_dataset`."""

    scale = 0

    def __init__(self, num_samples: int) -> None:
        super().__init__(num_samples)
        self._dataset = list(range(num_samples))

    def __getitem__(self, index: int) -> Tensor:
        assert not hasattr(self, "mark")
        return torch.tensor(self._dataset[index] * self.scale)

    def open(self) -> None:
        self.opened = True


def set_up(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    data: Any = info.dataset
    assert (len(data), data.num_samples, data.scale) == (11, 11, 0)
    data.open()
    assert data.opened
    data.mark = worker
    del data.mark
    data._dataset = [2 * number for number in data._dataset]
    data.scale = data.scale + 5


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_worker_init_fn_reads_and_writes_the_users_data_set(context: str) -> None:
    data = Scaled(11)
    plain = DataLoader(
        data, 4, num_workers=1, worker_init_fn=set_up, multiprocessing_context=context
    )
    pruner = Pruner(Everything(), epochs=8)
    loader = pruner.wrap(plain)
    assert_trains_its_plans(pruner, loader, batch_size=4, epochs=1, ids_in=lambda x: x // 10)
    assert data.scale == 0


def test_a_tagged_data_set_is_copied_and_pickled_without_asking_itself_for_ever() -> None:
    tagged = TaggedDataset(Scaled(11))
    for copied in (pickle.loads(pickle.dumps(tagged)), copy.copy(tagged), copy.deepcopy(tagged)):
        assert (len(copied), copied.num_samples) == (11, 11)
    with pytest.raises(AttributeError):
        _ = TaggedDataset.__new__(TaggedDataset).num_samples


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("in_order", [True, False])
def test_a_loop_survives_an_exception_in_the_data_set(num_workers: int, in_order: bool) -> None:
    broken = Pruner(InfoBatch(), epochs=8, num_samples=23).plan(0).ids[[2, 9]].tolist()
    pruner = Pruner(InfoBatch(), epochs=8)
    data = Numbers(23, broken=broken)
    loader = pruner.wrap(
        DataLoader(data, 4, shuffle=True, num_workers=num_workers, in_order=in_order)
    )
    for epoch in range(3):
        trained, batches, failures = [], iter(loader), 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except OSError:
                failures += 1
                continue
            trained.append(batch.tolist())
            pruner.reduce(loss_of(batch, epoch))
        ids = pruner.plan(epoch).ids.tolist()
        whole = [ids[k : k + 4] for k in range(0, len(ids), 4)]
        lost = [batch for batch in whole if set(batch) & set(broken)]
        assert failures == len(lost) > 0
        assert sorted(trained) == sorted(batch for batch in whole if batch not in lost)
        assert losses_by_id(pruner) == {
            id_: 1000 * epoch + id_ + 1 for batch in trained for id_ in batch
        }
    # What could never be read was never scored, so it counts as unseen.
    pruner.plan(3)
    assert [k for k, loss in enumerate(ledger_losses(pruner)) if loss < 0] == sorted(broken)


def test_a_dropped_loader_is_freed_without_the_garbage_collector() -> None:
    """torch takes five seconds to stop persistent workers that the collector has to end."""
    pruner, loader = wrapped(num_workers=1, persistent_workers=True)
    train(pruner, loader, 0)
    gone = weakref.ref(loader)
    gc.disable()
    try:
        del loader
        assert gone() is None
    finally:
        gc.enable()


def test_the_length_of_an_iterator_is_its_own() -> None:
    pruner, loader = wrapped(23, 4, method=InfoBatch())
    train(pruner, loader, 0)
    batches = iter(loader)
    length = len(loader)
    pruner.reduce(loss_of(next(batches), 1))
    peek = iter(loader)
    assert len(peek) != len(batches)
    assert len(batches) == length == 1 + len(train(pruner, batches, 1))
