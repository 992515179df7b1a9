"""What a loop gets is what its collate function makes of the chosen samples, whatever they are."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from thresher import Pruner
from thresher.errors import BatchMismatchError
from thresher.online import ExtraForwardBernoulli, OnlineMethod, SelectiveBackprop

SIZE = 30
Pair = namedtuple("Pair", ["number", "words"])


class Kind(Dataset[Any]):
    """Item i, made by a function."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Many(Kind):
    """Fetches many at once, and only so; `__getitem__` says what each would be."""

    def __init__(self, make: Any, many: Any) -> None:
        super().__init__(make)
        self.many = many

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("a single sample was fetched")

    def __getitems__(self, ids: list[int]) -> Any:
        return self.many(ids)


def as_it_is(samples: Any) -> Any:
    return samples


def padded(samples: list[Tensor]) -> dict[str, Any]:
    """As language models do: of the length of the longest."""
    rows = torch.nn.utils.rnn.pad_sequence(samples, batch_first=True, padding_value=-1)
    return {"rows": rows, "longest": max(map(len, samples)), "first": [len(s) for s in samples]}


def ragged(index: int) -> Tensor:
    return torch.full((1 + index % 4,), index)


def mixed(index: int) -> dict[str, Any]:
    array = np.array([index, 1], dtype=np.float32)
    return {"text": f"number {index}", "array": array, "pair": Pair(index, "w" * index)}


def sort(ids: list[int]) -> list[Tensor]:
    ids.sort()
    return [torch.tensor(id_) for id_ in ids]


def row(index: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([index, 2.0 * index]), torch.tensor(index)


def rows(ids: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor([[i, 2.0 * i] for i in ids]), torch.tensor(ids)


def named_rows(ids: list[int]) -> dict[str, Any]:
    return {
        "x": torch.tensor(ids)[:, None].half(),
        "pair": Pair(np.array(ids), [torch.tensor(ids)]),
    }


# What the data set is, what is one sample or many of it, and the collate function.
KINDS: dict[str, tuple[Any, Any, Any]] = {
    "numbers": (Kind(int), None, None),
    "half precision": (Kind(lambda i: torch.tensor([i], dtype=torch.bfloat16)), None, None),
    "mixed": (Kind(mixed), None, None),
    "lists of samples": (Kind(ragged), None, as_it_is),
    "padded": (Kind(ragged), None, padded),
    "tensors": (TensorDataset(torch.arange(SIZE), torch.eye(SIZE)), None, None),
    "a part of a part": (
        Subset(ConcatDataset([Kind(ragged), Kind(ragged)]), range(5, 5 + SIZE)),
        None,
        padded,
    ),
    "many as a list": (Many(ragged, lambda ids: [ragged(i) for i in ids]), None, padded),
    "many as a tuple": (Many(mixed, lambda ids: tuple(mixed(i) for i in ids)), None, None),
    "many, sorted": (Many(None, sort), lambda ids: [torch.tensor(i) for i in ids], None),
    "rows": (Many(row, rows), rows, as_it_is),
    "named rows": (Many(None, named_rows), named_rows, as_it_is),
}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and bool((first == second).all())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return (
            type(first) is type(second)
            and len(first) == len(second)
            and all(map(same, first, second))
        )
    return type(first) is type(second) and first == second


@pytest.mark.parametrize(
    ("method", "num_workers"),
    [(SelectiveBackprop(), 0), (SelectiveBackprop(), 1), (ExtraForwardBernoulli(), 0)],
    ids=["waiting", "waiting-worker", "at once"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_chosen_samples_collated(
    kind: str, method: OnlineMethod, num_workers: int
) -> None:
    data, many, collate = KINDS[kind]
    settings = {"num_workers": num_workers, "multiprocessing_context": "fork"}
    plain: DataLoader[Any] = DataLoader(
        data, 4, shuffle=True, collate_fn=collate, **(settings if num_workers else {})
    )
    size = 4 if isinstance(method, SelectiveBackprop) else 8
    generator, scored = torch.Generator().manual_seed(0), list[Any]()

    def score_fn(batch: Any) -> Tensor:
        scored.append(batch)
        return torch.rand(size, generator=generator)

    pruner = Pruner(method, epochs=4)
    loader: Any = pruner.wrap(plain, score_fn=score_fn)
    if many is None:
        many = getattr(data, "__getitems__", None) or (lambda ids: [data[i] for i in ids])
    for _ in range(2):
        for batch in loader:
            ids = loader.batch_ids.tolist()
            assert same(batch, plain.collate_fn(many(list(ids))))
            pruner.reduce(torch.ones(len(ids)))
    assert scored


def test_samples_that_are_neither_a_list_nor_rows_are_refused() -> None:
    for given in ({1, 2, 3}, "text", torch.zeros(3), {"x": torch.zeros(8), "y": 5}, [1, 2]):
        data = Many(None, lambda ids, given=given: given)
        pruner = Pruner(ExtraForwardBernoulli(), epochs=4)
        loader: Any = pruner.wrap(
            DataLoader(data, 4, collate_fn=as_it_is), score_fn=lambda batch: torch.ones(8)
        )
        with pytest.raises(BatchMismatchError, match=r"for 8 ids; .*a list of 8 samples"):
            next(iter(loader))


def test_a_collate_function_that_changes_its_list_takes_nothing_away() -> None:
    def emptying(samples: list[int]) -> Tensor:
        return torch.tensor([samples.pop() for _ in range(len(samples))])

    pruner = Pruner(SelectiveBackprop(), epochs=4)
    plain = DataLoader(Kind(int), 4, shuffle=True, collate_fn=emptying)
    loader: Any = pruner.wrap(plain, score_fn=lambda batch: batch.float())
    for batch in loader:
        assert batch.tolist() == loader.batch_ids[::-1].tolist()
        pruner.reduce(torch.ones(4))
