"""All samples, when each rank remembers a shard of them."""

from __future__ import annotations

from typing import final

import numpy as np

from thresher._arrays import Array
from thresher.parallel.order_statistics import kth, kth_id
from thresher.parallel.transport import Transport
from thresher.population import Population
from thresher.shard import Shard


@final
class Sharded(Population):
    """All samples, each rank's shard being every W-th.

    What crosses the network is vectors of whole numbers that do not grow with the samples: counts,
    the words of exact sums, histograms of 16 kB, and two or three numbers a window of steps.

    Args:
        transport: to the other ranks.
    """

    def __init__(self, transport: Transport) -> None:
        self.shard = Shard(transport.rank, transport.size)
        self._transport = transport

    def added(self, numbers: Array) -> Array:
        """Return the sum over shards of a vector of whole numbers: int64."""
        return self._transport.all_sum(numbers)

    def largest(self, numbers: Array) -> Array:
        """Return the element-wise largest over shards of a vector of whole numbers: int64."""
        return self._transport.all_max(numbers)

    def gathered(self, numbers: Array) -> Array:
        """Return the whole numbers of each shard, equally many, in their order: int64, (W, k)."""
        return self._transport.all_gather(numbers)

    def kth(self, values: Array, among: Array | None, k: int) -> float:
        """Return the value that k others come before, by a radix select."""
        return kth(values, among, k, self.added)

    def first(self, among: Array, count: int) -> Array:
        """Return the mask of the `count` members of `among` with the smallest ids."""
        if count == 0:
            return np.zeros_like(among)
        shard, ids = self.shard, self.shard.ids(np.flatnonzero(among))
        largest = int(self.largest(ids[-1:] if len(ids) else np.array([0]))[0])
        last = kth_id(ids, largest.bit_length(), count - 1, self.added)
        kept = among.copy()
        kept[max(0, (last - shard.index) // shard.count + 1) :] = False
        return kept
