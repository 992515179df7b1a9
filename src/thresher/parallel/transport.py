"""What shards say to each other: vectors of whole numbers, added up, compared or collected."""

from __future__ import annotations

import time
from typing import Protocol, final

import numpy as np
import torch
import torch.distributed as dist

from thresher._arrays import Array
from thresher.parallel.ranks import device_of


class Transport(Protocol):
    """Adds up small vectors over ranks. Every rank makes the same calls, in the same order."""

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        ...

    @property
    def size(self) -> int:
        """W, how many there are."""
        ...

    def all_sum(self, numbers: Array) -> Array:
        """Return the sum over ranks: int64, the shape of `numbers`."""
        ...

    def all_max(self, numbers: Array) -> Array:
        """Return the element-wise largest over ranks: int64, the shape of `numbers`."""
        ...

    def all_gather(self, numbers: Array) -> Array:
        """Return every rank's numbers: int64, (W, *shape)."""
        ...


@final
class Distributed:
    """A transport by `torch.distributed`: whatever backend the user has started.

    Args:
        group: the ranks that share the ledger; None means all.

    Attributes:
        bytes_sent: of the vectors that this rank handed over so far.
        seconds: spent in it, waiting for slower ranks included.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self._rank, self._size = dist.get_rank(group), dist.get_world_size(group)
        self._device = device_of(group)
        self.bytes_sent = 0
        self.seconds = 0.0

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        return self._rank

    @property
    def size(self) -> int:
        """W, how many there are."""
        return self._size

    def all_sum(self, numbers: Array) -> Array:
        """Return the sum over ranks: int64, the shape of `numbers`."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def all_max(self, numbers: Array) -> Array:
        """Return the element-wise largest over ranks: int64, the shape of `numbers`."""
        return self._reduced(numbers, dist.ReduceOp.MAX)

    def all_gather(self, numbers: Array) -> Array:
        """Return every rank's numbers: int64, (W, *shape)."""
        start, sent = time.perf_counter(), self._sent(numbers)
        found = torch.empty((self._size, *sent.shape), dtype=sent.dtype, device=self._device)
        dist.all_gather(list(found.unbind(0)), sent, group=self._group)
        return self._received(found, start)

    def _reduced(self, numbers: Array, operation: dist.ReduceOp.RedOpType) -> Array:
        start, sent = time.perf_counter(), self._sent(numbers)
        dist.all_reduce(sent, op=operation, group=self._group)
        return self._received(sent, start)

    def _sent(self, numbers: Array) -> torch.Tensor:
        self.bytes_sent += 8 * numbers.size
        copy = np.array(numbers, dtype=np.int64, order="C")
        return torch.from_numpy(copy).to(self._device)

    def _received(self, found: torch.Tensor, start: float) -> Array:
        received = found.cpu().numpy()
        self.seconds += time.perf_counter() - start
        return received
