"""What cannot be trained on over a stream is refused by name, at `wrap` or in the first batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from streams.streams import Batches, Numbers, Scores, Trained, run
from thresher import KAKURENBO, Full, InfoBatch, Pruner, RePB
from thresher.errors import (
    BatchMismatchError,
    CheckpointError,
    DatasetChangedError,
    EmptyEpochError,
    IterableDatasetError,
    SamplerError,
    SettingError,
    StreamIdError,
    ThresherError,
    ThresherWarning,
)
from thresher.online import OrderedTopQ

N, B = 12, 4


def by_id(**changed: Any) -> Any:
    given = {"ids": "id", "num_samples": N, **changed}
    method, order = given.pop("method", InfoBatch()), given.pop("order", range(N))
    return run(method, Numbers(order), B, **given)


def passing(**changed: Any) -> Any:
    given = {"dataset": Numbers(range(N)), "batch_size": B, **changed}
    return run(OrderedTopQ(), given.pop("dataset"), given.pop("batch_size"), **given)


def map_style(**asked: Any) -> Any:
    return Pruner(InfoBatch(), epochs=4).wrap(DataLoader(torch.arange(N), B), **asked)


AT_WRAP: dict[str, tuple[Callable[[], Any], type[ThresherError], str]] = {
    "neither ids nor an online method": (
        lambda: run(InfoBatch(), Numbers(range(N)), B),
        IterableDatasetError,
        r"Numbers has no sample ids.*num_samples=n.*ids='id'.*online.*score_fn",
    ),
    "no number of samples": (
        lambda: run(InfoBatch(), Numbers(range(N)), B, ids="id"),
        SettingError,
        r"without the number of samples.*num_samples=n",
    ),
    "ids for an online method": (
        lambda: passing(ids="id"),
        SettingError,
        "ids='id'.*OrderedTopQ.*leave ids out",
    ),
    "no score_fn": (
        lambda: Pruner(OrderedTopQ(), epochs=3).wrap(DataLoader(Numbers(range(N)), B)),
        SettingError,
        "no score_fn",
    ),
    "steps of a plan": (
        lambda: by_id(steps_per_epoch=3),
        SettingError,
        r"steps_per_epoch=3\) with InfoBatch",
    ),
    "no step at all": (lambda: passing(steps_per_epoch=0), SettingError, "1 or more"),
    "batches of no size": (
        lambda: Pruner(OrderedTopQ(), epochs=3).wrap(
            DataLoader(Batches(range(N), 3), None), score_fn=Scores()
        ),
        SamplerError,
        r"batch_size=None.*batch_size=\.\.\.",
    ),
    "two batch sizes": (
        lambda: Pruner(OrderedTopQ(), epochs=3).wrap(
            DataLoader(Numbers(range(N)), B), score_fn=Scores(), batch_size=3
        ),
        SettingError,
        r"batch_size=3\) of a loader with batch_size=4",
    ),
    "a remainder": (
        lambda: Pruner(OrderedTopQ(), epochs=3).wrap(
            DataLoader(Numbers(range(N)), B), score_fn=Scores(), remainder="drop"
        ),
        SettingError,
        "remainder='drop'.*steps_per_epoch",
    ),
    "a second look at hidden samples": (
        lambda: Pruner(KAKURENBO(prune_ratio=0.3), epochs=4, num_samples=N).wrap(
            DataLoader(Numbers(range(N)), B), ids="id", score_fn=Scores()
        ),
        SettingError,
        "KAKURENBO, which scores hidden samples anew.*score_fn left out",
    ),
    "ids of positions": (lambda: map_style(ids="id"), SettingError, "ids='id'.*leave ids out"),
    "steps of positions": (
        lambda: map_style(steps_per_epoch=3),
        SettingError,
        "leave steps_per_epoch out",
    ),
    "a batch size of positions": (
        lambda: map_style(batch_size=3),
        SettingError,
        "leave batch_size out",
    ),
}


@pytest.mark.parametrize("name", AT_WRAP)
def test_it_is_refused_at_wrap(name: str) -> None:
    call, kind, message = AT_WRAP[name]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert type(caught.value) is kind


class Items(IterableDataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)


IDS: dict[str, tuple[list[Any], Any, str]] = {
    "no such column": ([{"x": 1}, {"x": 2}], "id", "a dict of x.*'id'.*Keep the column"),
    "no dict": ([(1, 2), (3, 4)], "id", "a list.*ids=lambda"),
    "numbers with a fraction": ([{"id": 0.5}, {"id": 1.5}], "id", "dtype float.*whole number"),
    "yes and no": ([{"id": True}, {"id": False}], "id", "dtype bool"),
    "one for a batch": ([{"id": 1}, {"id": 2}], lambda batch: torch.tensor(1), r"shape \(\)"),
    "too large": ([{"id": 0}, {"id": N}], "id", f"from 0 to {N};.*num_samples={N}"),
    "negative": ([{"id": -1}, {"id": 0}], "id", "from -1 to 0"),
    "twice in a batch": ([{"id": 1}, {"id": 1}], "id", r"twice in one pass.*\[1\]"),
    "too many strings": (
        [{"id": f"{k}"} for k in range(N + 2)],
        "id",
        "different ids.*num_samples=12",
    ),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_that_are_none_are_refused_in_the_first_batch(name: str) -> None:
    items, ids, message = IDS[name]
    pruner = Pruner(Full(), epochs=2, num_samples=N)
    loader: Any = pruner.wrap(DataLoader(Items(items), len(items)), ids=ids)
    with pytest.raises(StreamIdError, match=message):
        next(iter(loader))


@pytest.mark.parametrize("apart", [B, 2 * B + 1])
def test_an_id_that_comes_twice_in_a_pass_is_refused_when_it_comes(apart: int) -> None:
    order = [*range(N)]
    order[apart] = 0
    pruner, loader, _ = by_id(order=order)
    with pytest.raises(StreamIdError, match=r"twice in one pass.*\[0\].*get_worker_info"):
        Trained(pruner, loader, 0, None)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_workers_that_all_read_everything_are_found_out() -> None:
    pruner = Pruner(RePB(), epochs=3, num_samples=N)
    plain = DataLoader(Numbers(range(N), shared=False), B, num_workers=2)
    loader: Any = pruner.wrap(plain, ids="id")
    with pytest.raises(StreamIdError, match="twice in one pass"):
        Trained(pruner, loader, 0, None)


def test_planned_samples_that_never_come_are_named_at_the_passes_end() -> None:
    pruner, loader, _ = by_id(order=[0, 1, 2, 3, 4, 5, 6, 8, 9, 11])
    with pytest.raises(StreamIdError, match=r"without 2 samples.*\[7, 10\].*without a gap"):
        Trained(pruner, loader, 0, None)


def test_a_stream_that_gives_nothing_is_refused() -> None:
    for asked in ({}, {"steps_per_epoch": 3}):
        pruner, loader, scores = passing(dataset=Numbers([]), **asked)
        with pytest.raises(EmptyEpochError, match="gave nothing"):
            Trained(pruner, loader, 0, scores)


def test_batches_whose_rows_differ_are_refused() -> None:
    ragged = Items([(torch.zeros(3), torch.zeros(2))])
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(DataLoader(ragged, None), score_fn=Scores(), batch_size=2)
    with pytest.raises(BatchMismatchError, match=r"not as many rows.*yield single samples"):
        next(iter(loader))
    padded = Items([torch.zeros(3, 5), torch.zeros(3, 4)])
    loader = Pruner(OrderedTopQ(), epochs=3).wrap(
        DataLoader(padded, None), score_fn=Scores(), batch_size=2
    )
    with pytest.raises(BatchMismatchError, match=r"\(4,\) and \(5,\).*pad them"):
        next(iter(loader))


def test_a_state_of_another_kind_of_run_is_refused() -> None:
    pruner, loader, scores = passing()
    Trained(pruner, loader, 0, scores)
    state = pruner.state_dict()
    other, _, _ = passing(steps_per_epoch=3)
    with pytest.raises(DatasetChangedError, match="steps_per_epoch=3, and now over one with None"):
        other.load_state_dict(state)
    plain = Pruner(OrderedTopQ(), epochs=4)
    plain.wrap(DataLoader(torch.arange(N), B), score_fn=Scores())
    with pytest.raises(DatasetChangedError):
        plain.load_state_dict(state)


def test_a_stream_that_has_become_shorter_is_refused_on_resume() -> None:
    pruner, loader, scores = passing()
    batches = iter(loader)
    pruner.reduce(next(batches)["id"].float())
    state = pruner.state_dict()
    other, others, _ = passing(dataset=Numbers(range(3)))
    other.load_state_dict(state)
    with pytest.raises(CheckpointError, match="ended after 3 samples; expected: 8"):
        next(iter(others))
    assert scores.seen


class Broken:
    """Items of which one cannot be read, once; begins anew at each pass."""

    def __init__(self) -> None:
        self.next = 0
        self.has_failed = False

    def __iter__(self) -> Any:
        self.next = 0
        return self

    def __next__(self) -> Any:
        self.next += 1
        if self.next > N:
            raise StopIteration
        if self.next == B and not self.has_failed:
            self.has_failed = True
            raise OSError("cannot read this")
        return {"id": torch.tensor(self.next - 1)}


class BrokenStream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.items = Broken()

    def __iter__(self) -> Any:
        return iter(self.items)


def test_a_loop_survives_an_item_that_cannot_be_read() -> None:
    """As a loop over a plain loader does; which sample that was nobody knows."""
    pruner = Pruner(OrderedTopQ(), epochs=3)
    loader: Any = pruner.wrap(DataLoader(BrokenStream(), 1), score_fn=Scores(), steps_per_epoch=8)
    batches, trained = iter(loader), []
    while True:
        try:
            batch = next(batches)
        except OSError:
            continue
        except StopIteration:
            break
        pruner.reduce(batch["id"].float())
        trained += batch["id"].tolist()
    assert len(trained) == 8
    assert B - 1 not in trained[:5]


def test_hidden_samples_keep_their_scores_and_the_warning_says_why() -> None:
    pruner = Pruner(KAKURENBO(prune_ratio=0.3), epochs=4, num_samples=N)
    with pytest.warns(ThresherWarning, match="expected: a map-style data set"):
        pruner.wrap(DataLoader(Numbers(range(N)), B), ids="id")
