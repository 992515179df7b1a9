"""Shards that are threads of one process: what they say to each other, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from thresher._arrays import Array
from thresher.parallel.sharded import Sharded
from thresher.population import EVERYONE, Population

Result = TypeVar("Result")


class Table:
    """Where all shards put their numbers down, and wait for those of the others."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=20)
        self.rows: list[tuple[str, Array]] = [("", np.empty(0))] * size


class Thread:
    """The end of one shard: counts its bytes, and refuses calls that the others do not make."""

    def __init__(self, rank: int, table: Table) -> None:
        self.rank, self.size = rank, len(table.rows)
        self._table = table
        self.bytes_sent = self.calls = 0

    def all_sum(self, numbers: Array) -> Array:
        return self._collected("sum", numbers).sum(0)

    def all_max(self, numbers: Array) -> Array:
        return self._collected("max", numbers).max(0)

    def all_gather(self, numbers: Array) -> Array:
        return self._collected("gather", numbers)

    def _collected(self, call: str, numbers: Array) -> Array:
        assert numbers.dtype.kind in "bi", f"{numbers.dtype} would not add up exactly"
        self.bytes_sent += 8 * numbers.size
        self.calls += 1
        self._table.rows[self.rank] = (call, numbers.astype(np.int64))
        self._table.barrier.wait()
        rows = list(self._table.rows)
        self._table.barrier.wait()
        assert {(name, row.shape) for name, row in rows} == {(call, numbers.shape)}
        return np.stack([row for _, row in rows])


_POOL = ThreadPoolExecutor(max_workers=8)


def together(count: int, work: Callable[[Population, Thread], Result]) -> list[Result]:
    """Let `count` shards do the same work at once: what each returned, in their order."""
    table = Table(count)
    ends = [Thread(rank, table) for rank in range(count)]

    def one(end: Thread) -> Result:
        try:
            return work(Sharded(end), end)
        except BaseException:
            table.barrier.abort()
            raise

    futures = [_POOL.submit(one, end) for end in ends]
    errors = [error for future in futures if (error := future.exception())]
    first = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    for error in first or errors:
        raise error
    return [future.result() for future in futures]


def whole_and_shards(
    count: int, work: Callable[[Population], Result]
) -> tuple[Result, list[Result]]:
    """What the work gives of all samples in one place, and of shards."""
    return work(EVERYONE), together(count, lambda population, _: work(population))
