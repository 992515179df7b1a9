"""The stream of candidates, and where a run stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.draws import Draws
from thresher.ledger import Ledger
from thresher.plan import Epoch

WAITING = "waiting"
"""The vector in which the ledger of a user's stream has the arrivals that wait; -1: none."""


@final
class Stream:
    """Random orders of all samples without end, keyed by seed and number; or the ids ascending.

    Several ranks read the same stream, each its block of as many candidates at a time as all of
    them take together, so that two ranks never look at one sample at one place of the stream.

    Args:
        num_samples: n.
        seed: keys the orders.
        shuffled: whether they are random.
        rank: which rank reads.
        world_size: W, how many there are.
    """

    def __init__(
        self, num_samples: int, seed: int, shuffled: bool, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffled = shuffled
        self._rank = rank
        self._world_size = world_size
        self._number = -1
        self._ids = np.empty(0, dtype=np.int64)

    def order(self, number: int) -> np.ndarray:
        """Return order `number` of all samples: int64, (n,). The last one asked for is kept."""
        if number != self._number:
            told = Epoch(number=number, draws=Draws(self.seed, number), shuffled=self.shuffled)
            everyone = torch.ones(self.num_samples, dtype=torch.bool, device="cpu")
            self._ids, self._number = told.order(everyone).numpy(), number
        return self._ids

    def draws(self, cursor: int) -> Draws:
        """Return the random numbers for the candidates at `cursor`, other ones on each rank."""
        return Draws(self.seed, cursor, self._rank if self._world_size > 1 else None)

    def take(self, cursor: int, size: int) -> tuple[np.ndarray, int]:
        """Return this rank's next `size` samples, none twice: int64; and the cursor after them all.

        Args:
            cursor: how far the stream was read.
            size: how many; with fewer samples than ranks, some look at the same one.
        """
        taken, after = self._take(cursor, size * self._world_size)
        if self._world_size > 1:
            first = self._rank * size
            taken = taken[np.arange(first, first + size) % len(taken)]
        return taken, after

    def _take(self, cursor: int, size: int) -> tuple[np.ndarray, int]:
        """Return the next `size` samples, at most n, none twice, and the cursor after them.

        Where an order ends, its rest is filled up from the next one, which skips what it repeats:
        so every candidate batch is as large, and a uniformly random part of the data.
        """
        number, start = divmod(cursor, self.num_samples)
        taken = self.order(number)[start : start + size]
        missing = min(size, self.num_samples) - len(taken)
        if missing <= 0:
            return taken, cursor + len(taken)
        head = self.order(number + 1)[: missing + len(taken)]
        places = np.flatnonzero(~np.isin(head, taken))[:missing]
        after = (number + 1) * self.num_samples + int(places[-1]) + 1
        return np.concatenate([taken, head[places]]), after


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """Where a run stands between two batches, all in fixed or small shapes.

    Args:
        cursor: how far the stream was read.
        queue: chosen samples that wait for others to make a batch with: int64 ids, none twice.
        memory: what the method remembers.
        forwards: samples scored since the epoch began.
        begun: of a user's stream, where the cursor stood when the epoch began: there each pass
            over the stream begins anew, and ids are numbers of arrival.
    """

    cursor: int = 0
    queue: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    forwards: int = 0
    begun: int = 0

    @classmethod
    def of(cls, ledger: Ledger) -> Standing:
        """Return where the run stood when the ledger was written."""
        queue = np.empty(0, dtype=np.int64)
        if "queue" in ledger.columns:
            places = ledger["queue"].numpy()
            waiting = np.flatnonzero(places)
            queue = waiting[np.argsort(places[waiting])]
        memory = dict(ledger.vectors)
        arrivals = memory.pop(WAITING, None)
        if arrivals is not None:
            queue = arrivals[arrivals >= 0].numpy()
        # float64 is exact up to 2**53 candidates.
        cursor, begun = (int(ledger.scalars.get(name, 0)) for name in ("cursor", "begun"))
        return cls(cursor=cursor, queue=queue, memory=memory, begun=begun)

    def put_into(self, ledger: Ledger) -> None:
        """Write it down in place: a column has each sample's place in the queue, from 1; 0 none."""
        ledger.scalars["cursor"] = float(self.cursor)
        vectors = {name: vector.clone() for name, vector in self.memory.items()}
        if WAITING in ledger.vectors:
            arrivals = torch.full_like(ledger.vectors[WAITING], -1)
            arrivals[: len(self.queue)] = torch.from_numpy(self.queue)
            vectors[WAITING] = arrivals
            ledger.scalars["begun"] = float(self.begun)
        ledger.vectors = vectors
        if "queue" in ledger.columns:
            places = ledger["queue"].zero_().numpy()
            places[self.queue] = np.arange(1, len(self.queue) + 1, dtype=np.int32)
