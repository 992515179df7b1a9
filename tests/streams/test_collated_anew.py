"""What is chosen of a stream's batches is collated anew, or taken row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streams.streams import Numbers, Trained, run, trained
from thresher import Full, Method, Pruner, RandomPruning
from thresher.errors import BatchMismatchError
from thresher.samples import Samples

N, B = 26, 4


def by_id(method: Method, collate: Any) -> tuple[Pruner, Any]:
    pruner, loader, _ = run(
        method, Numbers(range(N)), B, ids="id", num_samples=N, collate_fn=collate
    )
    return pruner, loader


def test_what_is_kept_is_collated_anew_and_whole_batches_as_they_came() -> None:
    made: list[int] = []

    def padded(samples: list[Any]) -> Any:
        ids = torch.stack([sample["id"] for sample in samples])
        made.append(len(samples))
        rows = [torch.ones(1 + int(id_) % 5) for id_ in ids]
        return {"id": ids, "rows": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)}

    pruner, loader = by_id(RandomPruning(prune_ratio=0.5), padded)
    for batch in loader:
        longest = max(1 + id_ % 5 for id_ in batch["id"].tolist())
        assert batch["rows"].shape == (len(batch["id"]), longest)
        pruner.reduce(batch["id"].float())
    pruner, loader = by_id(Full(), padded)
    made.clear()
    trained(pruner, loader, epochs=1)
    assert made == [B] * (N // B) + [N % B]


def test_a_collate_function_may_take_samples_apart() -> None:
    def popping(samples: list[Any]) -> Any:
        ids = torch.stack([sample.pop("id") for sample in samples])
        samples.clear()
        return {"id": ids}

    pruner, loader = by_id(RandomPruning(prune_ratio=0.5), popping)
    planned = set(pruner.plan(0).ids.tolist())
    assert set(Trained(pruner, loader, 0, None).ids) == planned


def batch_of(numbers: list[int]) -> Any:
    return {
        "x": torch.tensor(numbers)[:, None],
        "names": [f"number {number}" for number in numbers],
        "parts": (np.array(numbers), [torch.tensor(numbers).half(), tuple(map(str, numbers))]),
        "json": [{"x": number, "more": {"y": None}} for number in numbers],
    }


@given(data=st.data(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_rows_of_joined_batches_are_the_rows_of_each(data: Any, sizes: list[int]) -> None:
    whole: Samples | None = None
    for number, size in enumerate(sizes):
        part = Samples.rows(batch_of([10 * number + k for k in range(size)]))
        assert part.size == size
        whole = part if whole is None else whole.joined(part)
    assert whole is not None
    numbers = [10 * number + k for number, size in enumerate(sizes) for k in range(size)]
    chosen = data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=1, unique=True))
    found = whole.take(np.array(chosen)).collated(lambda batch: batch)
    expected = batch_of([numbers[place] for place in chosen])
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    "batch",
    [
        *(torch.tensor(1.0), "text", 3, {}, [], None),
        {"x": torch.zeros(3), "names": ["a", "b"]},
        [torch.zeros(3, 2), torch.zeros(2, 3)],
        [torch.zeros(2), [torch.zeros(1), torch.zeros(3)]],
    ],
    ids=str,
)
def test_what_has_no_rows_is_refused(batch: Any) -> None:
    with pytest.raises(BatchMismatchError, match="yield single samples"):
        Samples.rows(batch)
