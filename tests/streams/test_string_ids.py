"""Ids that are strings: each has a row of its own, in every pass and after a resume."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_runs import copied
from streams.streams import Numbers, Trained, run
from thresher import Pruner, RandomPruning
from thresher.errors import StreamIdError
from thresher.keys import _RECENT, Keys

N, B = 26, 4


def test_a_string_keeps_its_row_whatever_order_it_comes_in() -> None:
    first, pruner, loader = by_name()
    epochs = []
    for epoch in range(4):
        planned = {first[row] for row in pruner.plan(epoch).ids.tolist()}
        epochs.append(Trained(pruner, loader, epoch, None).ids)
        assert set(epochs[-1]) == planned
        assert len(epochs[-1]) == len(planned) == N // 2
        loader.dataset.order = random.Random(epoch).sample(range(N), N)
    # A cycle takes each half in turn, so it would show if rows went by arrival.
    assert sorted(epochs[0] + epochs[1]) == sorted(epochs[2] + epochs[3]) == list(range(N))


def by_name() -> tuple[list[int], Pruner, Any]:
    """The number in each row once a pass has come in this order, and the run."""
    first = random.Random(9).sample(range(N), N)
    method = RandomPruning(prune_ratio=0.5, mode="cycle")
    pruner, loader, _ = run(method, Numbers(first), B, ids="name", num_samples=N)
    return first, pruner, loader


def test_a_resumed_run_knows_the_rows_of_strings() -> None:
    first, pruner, loader = by_name()
    Trained(pruner, loader, 0, None)
    _, other, others = by_name()
    other.load_state_dict(copied(pruner.state_dict()))
    others.dataset.order = list(range(N))
    assert set(Trained(other, others, 1, None).ids) == {
        first[row] for row in other.plan(1).ids.tolist()
    }


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=8))
def test_a_string_has_the_row_of_its_first_turn(batches: list[list[str]]) -> None:
    keys, first = Keys(), dict[str, int]()
    for batch in batches:
        for name in batch:
            first.setdefault(name, len(first))
        if batch:
            assert keys.rows(batch, 100).tolist() == [first[name] for name in batch]
    other = Keys()
    other.load_state_dict(copied(keys.state_dict()))
    assert len(other) == len(keys) == len(first)
    if first:
        assert other.rows(list(first), 100).tolist() == list(first.values())


def test_so_it_has_when_there_are_many() -> None:
    keys, names = Keys(), [f"shard-{k // 100:04d}/{k:08d}" for k in range(3 * _RECENT)]
    for start in range(0, len(names), 1000):
        keys.rows(names[start : start + 1000], len(names))
    order = np.random.default_rng(0).permutation(len(names))
    assert keys.rows([names[k] for k in order], len(names)).tolist() == order.tolist()
    with pytest.raises(StreamIdError, match="different ids"):
        keys.rows(["one more"], len(names))
