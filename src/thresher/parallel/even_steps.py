"""Equal numbers of steps for shards whose plans are not equally long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from thresher.errors import SettingError


@final
@dataclass(frozen=True, kw_only=True)
class EvenSteps:
    """One shard's batches of an epoch: as many on every rank, each a slice of the rank's own plan.

    T = ⌈max S_r / b⌉ batches, S_r being the samples of rank r's part, and batch t is positions
    ⌊t S_r / T⌋ to ⌊(t + 1) S_r / T⌋: every planned sample is trained once, none is repeated, no
    batch is larger than b, and one rank's batches differ by one sample at most. A global batch
    has between S/T - W and S/T + W samples, so no step stands on a handful of them, as the last
    would if the longer parts were trained to their end by themselves.

    A rank with fewer samples than steps has empty batches. It has to take the step all the same,
    with a sample that counts for nothing.

    Without the remainder, T = ⌊min S_r / b⌋ batches of exactly b, the first T b of each part.

    Args:
        sizes: S_r of every rank, `Plan.sizes`.
        rank: whose batches these are.
        batch_size: b, the most that one rank trains at a time.
        drops_remainder: whether to train full batches only.

    Example:
        >>> even = EvenSteps(sizes=(5, 8), rank=0, batch_size=3)
        >>> even.num_batches, [even.batch(t) for t in range(3)], [even.real(t) for t in range(3)]
        (3, [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)], [3, 5, 5])
    """

    sizes: tuple[int, ...]
    rank: int
    batch_size: int
    drops_remainder: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rank < len(self.sizes) or self.batch_size < 1 or min(self.sizes) < 0:
            raise SettingError(
                f"EvenSteps of {len(self.sizes)} parts, rank {self.rank}, batches of "
                f"{self.batch_size}",
                "a rank from 0 to the number of parts, and batches of 1 or more",
            )

    @property
    def num_batches(self) -> int:
        """T, the same on every rank."""
        if self.drops_remainder:
            return min(self.sizes) // self.batch_size
        return -(-max(self.sizes) // self.batch_size)

    def begin(self, batch: int, rank: int | None = None) -> int:
        """Return the position in a rank's plan at which a batch begins; T gives the end."""
        if self.drops_remainder:
            return batch * self.batch_size
        size = self.sizes[self.rank if rank is None else rank]
        return batch * size // max(1, self.num_batches)

    def begins(self) -> np.ndarray:
        """Return where each batch begins in this rank's plan, and the end: int64, (T + 1,)."""
        batches = np.arange(self.num_batches + 1)
        if self.drops_remainder:
            return batches * self.batch_size
        return batches * self.sizes[self.rank] // max(1, self.num_batches)

    def batch(self, batch: int) -> slice:
        """Return the positions of this rank's plan that are trained in a batch, from 0."""
        return slice(self.begin(batch), self.begin(batch + 1))

    def real(self, batch: int) -> int:
        """Return R, the samples of all ranks in a batch.

        The mean over ranks that DDP and FSDP take of local sums divided by R / W is the mean over
        the global batch.
        """
        ranks = range(len(self.sizes))
        return sum(self.begin(batch + 1, rank) - self.begin(batch, rank) for rank in ranks)

    @property
    def num_trained(self) -> int:
        """The samples of all ranks that are in a batch."""
        stops = (self.begin(self.num_batches, rank) for rank in range(len(self.sizes)))
        return sum(stops)
