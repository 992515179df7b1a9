"""Which samples a process remembers: all of them, or every W-th."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from thresher._arrays import Array


@final
@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the data: the ids `index`, `index + count`, `index + 2 count`, ...

    A row is the place of a sample in a part's columns. Ids that lie side by side often come from
    one class or one file; taken in turns, the parts are alike.

    Args:
        index: which part, from 0.
        count: W, how many there are.

    Example:
        >>> shard = Shard(1, 3)
        >>> shard.num_rows(8), shard.ids(torch.arange(3).numpy()).tolist()
        (3, [1, 4, 7])
    """

    index: int = 0
    count: int = 1

    name: ClassVar[str] = "shard "
    """What the name of each begins with."""

    def __str__(self) -> str:
        return f"{self.name}{self.index} of {self.count}"

    def num_rows(self, num_samples: int) -> int:
        """Return how many of so many samples are in this part."""
        return max(0, -(-(num_samples - self.index) // self.count))

    def ids(self, rows: Array, out: Array | None = None) -> Array:
        """Return the ids of rows, int64, in `out` if given; if there is one part, the rows."""
        if self.count == 1:
            return rows
        ids = np.multiply(rows, self.count, out=out)
        ids += self.index
        return ids

    def rows(self, ids: Array) -> Array:
        """Return the rows of ids that are all in this part, int64."""
        return ids if self.count == 1 else ids // self.count

    def own(self, ids: Array) -> Array:
        """Return whether each id is in this part: bool."""
        return ids % self.count == self.index
