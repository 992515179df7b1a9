"""How a loader cuts a plan into batches, on one rank or on several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """Batches of b samples on each of W ranks, so b W in a global batch.

    The last global batch may be smaller. All ranks take equal parts of it: padded by repeating its
    own samples, or without the at most W - 1 samples that would need that, or it is left out.

    Args:
        batch_size: b, samples in a batch of one rank.
        drop_last: whether a smaller last global batch is left out.
        rank: which rank this is, from 0.
        world_size: W.
        drops_remainder: whether samples are left out instead of padding.

    Example:
        >>> Grid(batch_size=4, world_size=2).stop(19), Grid(batch_size=4, world_size=2).covered(19)
        (10, 19)
    """

    batch_size: int
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    drops_remainder: bool = False

    @property
    def global_size(self) -> int:
        """Samples in a batch over all ranks."""
        return self.batch_size * self.world_size

    def tail(self, num_samples: int) -> int:
        """Return how many of `num_samples` the smaller last global batch trains; 0 without one."""
        left = num_samples % self.global_size
        if self.drop_last:
            return 0
        return left - left % self.world_size if self.drops_remainder else left

    def covered(self, num_samples: int) -> int:
        """Return how many of `num_samples` planned samples are trained."""
        return num_samples - num_samples % self.global_size + self.tail(num_samples)

    def stop(self, num_samples: int) -> int:
        """Return how many positions each rank trains for them, padding included."""
        whole = num_samples // self.global_size * self.batch_size
        return whole - (-self.tail(num_samples) // self.world_size)

    def num_batches(self, num_samples: int) -> int:
        """Return how many batches each rank trains for them."""
        return -(-self.stop(num_samples) // self.batch_size)
