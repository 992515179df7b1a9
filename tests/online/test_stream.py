"""The stream of candidates, where a run stands in it, and samples on their way."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.ledger import Column, Ledger
from thresher.samples import Samples
from thresher.stream import Standing, Stream

MANY = settings(max_examples=100)


@MANY
@given(
    size=st.integers(1, 12),
    takes=st.lists(st.integers(1, 15), min_size=1, max_size=30),
    shuffled=st.booleans(),
    seed=st.integers(0, 3),
)
def test_the_stream_is_whole_orders_in_pieces_without_repeats(
    size: int, takes: list[int], shuffled: bool, seed: int
) -> None:
    stream, cursor, taken = Stream(size, seed, shuffled), 0, list[int]()
    for wanted in takes:
        before = cursor
        ids, cursor = stream.take(cursor, wanted)
        assert ids.dtype == np.int64
        assert len(ids) == len(set(ids.tolist())) == min(wanted, size)
        assert before < cursor <= before + 2 * size
        # Where no order ends, a piece is the order itself.
        if before // size == (cursor - 1) // size:
            order = stream.order(before // size)
            assert ids.tolist() == order[before % size : before % size + len(ids)].tolist()
        taken += ids.tolist()
    visits = np.bincount(taken, minlength=size)
    # One that repeats what the piece has already loses its turn in that order, and no other.
    assert visits.max() <= cursor // size + 1
    again = Stream(size, seed, shuffled)
    assert again.take(before, wanted)[0].tolist() == ids.tolist(), "a pure function of the cursor"


def test_orders_are_those_of_plans() -> None:
    assert sorted(Stream(9, 0, shuffled=True).order(3).tolist()) == list(range(9))
    assert Stream(9, 0, shuffled=False).order(3).tolist() == list(range(9))
    first, second = (Stream(9, seed, shuffled=True).order(0).tolist() for seed in (0, 1))
    assert first != second


def test_a_piece_where_two_orders_meet_skips_what_it_repeats() -> None:
    stream = Stream(5, 0, shuffled=True)
    first, second = stream.order(0).tolist(), stream.order(1).tolist()
    ids, after = stream.take(2, 5)
    tail = first[2:]
    fresh = [id_ for id_ in second if id_ not in tail]
    assert ids.tolist() == tail + fresh
    assert after == 5 + second.index(fresh[-1]) + 1


@MANY
@given(st.permutations(range(8)), st.integers(0, 8), st.integers(0, 2**40))
def test_a_standing_survives_the_ledger(order: list[int], num: int, cursor: int) -> None:
    queue = np.array(order[:num], dtype=np.int64)
    memory = {"tau": torch.tensor(0.5), "losses": torch.tensor([1.0, torch.nan])}
    standing = Standing(cursor=cursor, queue=queue, memory=memory, forwards=3)
    ledger = Ledger(
        8, [Column("queue", torch.int32, 0)], {"cursor": 0.0}, {n: 0 * v for n, v in memory.items()}
    )
    standing.put_into(ledger)
    again = Standing.of(ledger)
    assert (again.cursor, again.queue.tolist(), again.forwards) == (cursor, order[:num], 0)
    assert all(torch.equal(again.memory[n].nan_to_num(), v.nan_to_num()) for n, v in memory.items())
    copied = ledger.copy()
    copied.vectors["tau"].zero_()
    assert float(ledger.vectors["tau"]) == 0.5
    other = Ledger(8, [Column("queue", torch.int32, 0)], {"cursor": 0.0}, memory)
    other.load_state_dict(ledger.state_dict())
    assert Standing.of(other).queue.tolist() == order[:num]


class Item:
    """A sample of a class of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tensor = torch.tensor([number], dtype=torch.bfloat16)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Item)
            and self.number == other.number
            and torch.equal(self.tensor, other.tensor)
        )

    __hash__ = None  # type: ignore[assignment]


LISTS: dict[str, list[Any]] = {
    "numbers": [0, 1, 2, 3],
    "objects": [Item(i) for i in range(4)],
    "strings": ["", "a", "ab", "abc"],
    "big": [list(range(5000))] * 4,
    "tuples": [(i, str(i), [i, None]) for i in range(4)],
    "ragged": [tuple(range(i)) for i in range(4)],
    "empty": [(), (), (), ()],
    "dicts": [{"a": i, "b": {"c": 1.5 * i}} for i in range(4)],
    "other dicts": [{"a": 1}, {"b": 1}, {"a": 1, "b": 2}, {}],
    "kinds": [1, "a", (2,), None],
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_samples_survives_the_way_from_a_worker(name: str) -> None:
    samples = LISTS[name]
    travelled = pickle.loads(pickle.dumps(Samples(samples, 4)))
    part = travelled.take(np.array([3, 0]))
    assert part.collated(list) == [samples[3], samples[0]]
    assert part.joined(travelled.take(np.array([1]))).collated(list) == [
        samples[3],
        samples[0],
        samples[1],
    ]


def test_tensors_on_the_way_keep_their_bits_and_can_be_written_to() -> None:
    kinds = [
        torch.randn(3, generator=torch.Generator().manual_seed(0)),
        torch.tensor(7),
        torch.zeros(0, 2),
        torch.arange(12).view(3, 4).t(),
        torch.tensor([1.0], dtype=torch.bfloat16),
        torch.tensor([1 + 2j]).conj(),
        torch.ones(2, requires_grad=True),
        torch.eye(2).to_sparse(),
    ]
    again = pickle.loads(pickle.dumps(Samples(kinds, len(kinds))))
    for before, after in zip(kinds, again.collated(list), strict=True):
        assert after.dtype == before.dtype
        assert after.requires_grad == before.requires_grad
        assert torch.equal(after.to_dense(), before.to_dense())
        if not after.is_sparse:
            after.detach().zero_()


def test_rows_travel_and_are_taken_and_joined() -> None:
    whole = {"x": torch.arange(8).view(4, 2), "y": (np.arange(4.0), [torch.arange(4)])}
    samples = pickle.loads(pickle.dumps(Samples(whole, 4)))
    part = samples.take(np.array([2, 0])).joined(samples.take(np.array([3])))
    made = part.collated(lambda batch: batch)
    assert made["x"].tolist() == [[4, 5], [0, 1], [6, 7]]
    assert made["y"][0].tolist() == [2, 0, 3]
    assert made["y"][1][0].tolist() == [2, 0, 3]
    assert isinstance(made["y"], tuple)
    assert part.size == 3
