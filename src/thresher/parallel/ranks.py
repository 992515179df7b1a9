"""Which rank this process is, and the one thing ranks do together: gather a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.distributed as dist


@final
@dataclass(frozen=True)
class Ranks:
    """One of W processes that train together, as `torch.distributed` has them; alone without it.

    Example:
        >>> Ranks.found()
        Ranks(rank=0, world_size=1)
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def found(cls) -> Ranks:
        """Return what `torch.distributed` says now; asks nobody."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size}"

    @property
    def are_many(self) -> bool:
        """Whether there is anybody to talk to."""
        return self.world_size > 1

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """Return every rank's `values`, of one shape and dtype on all: (W, *shape).

        Every rank has to call it.
        """
        device = device_of()
        sent = torch.from_numpy(np.array(values, order="C")).to(device)
        found = torch.empty((self.world_size, *sent.shape), dtype=sent.dtype, device=device)
        dist.all_gather(list(found.unbind(0)), sent)
        return found.cpu().numpy()


def device_of(group: dist.ProcessGroup | None = None) -> torch.device:
    """Return where the backend of a group (None: of all) takes tensors: on the host if it can."""
    backend = dist.get_backend(group)
    if "gloo" in backend or "mpi" in backend:
        return torch.device("cpu")
    # Without an index: the device that the user has set for this rank.
    return torch.accelerator.current_accelerator() or torch.device("cpu")
