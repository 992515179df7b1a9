"""What shards tell each other: a few hundred kilobytes an epoch, whatever the number of samples."""

from __future__ import annotations

import pytest

from contracts.drive import losses
from contracts.found import METHODS, short
from shards.runs import planned
from shards.together import Thread, together
from thresher import Full, RePB, SeTa
from thresher.methods import Method
from thresher.population import Population

MOST = 300_000
"""Bytes that a shard hands over in an epoch, apart from what it tells of each optimizer step."""

A_STEP = 32
"""Bytes of a step: a sum in up to three levels, and a count."""

BATCH = 50


def traffic(method: Method, size: int, count: int) -> tuple[int, int, int]:
    """Bytes that a shard sends in a pruned epoch, in how many calls, and the epoch's steps."""
    table = losses(size, 8)

    def sent(over: Population, end: Thread) -> tuple[int, int, int]:
        before: list[tuple[int, int, int]] = []
        plans = planned(
            method,
            table,
            over,
            epochs=4,
            batch_size=BATCH,
            closed=lambda plan: before.append((end.bytes_sent, end.calls, -(-len(plan) // BATCH))),
        )
        assert len(plans) == 4
        bytes_sent, calls = (before[-1][k] - before[-2][k] for k in (0, 1))
        return bytes_sent, calls, before[-1][2]

    return max(together(count, sent))


@pytest.mark.parametrize("method", METHODS, ids=short)
def test_traffic_does_not_grow_with_the_samples(method: Method) -> None:
    (few, _, few_steps), (many, calls, many_steps) = (
        traffic(method, size, 2) for size in (2_000, 40_000)
    )
    assert many <= MOST + A_STEP * many_steps
    # Ties are told apart by ids of more bits, and k-means takes a few rounds more.
    more = 80_000 if isinstance(method, SeTa) else 16_500
    assert many - few <= A_STEP * (many_steps - few_steps) + more
    assert calls <= 50
    assert many_steps > few_steps or method.needs == ()


def test_a_window_costs_two_or_three_numbers() -> None:
    bytes_sent, _, num_steps = traffic(RePB(rho=0.5), 40_000, 2)
    assert 16 * num_steps <= bytes_sent <= 24 * num_steps + 1000


def test_training_on_everything_costs_nearly_nothing() -> None:
    assert traffic(Full(), 2_000, 3)[0] <= 64
