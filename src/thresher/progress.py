"""What an epoch in progress is to the clock, the hand and the loader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from thresher.accounting import Row
from thresher.grid import Grid
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.outline import Outline
from thresher.plan import Plan
from thresher.steps import Place


class Feed(Protocol):
    """What one pass asks the data set for, and makes batches of."""

    def __len__(self) -> int:
        """Return how many batches the pass will yield."""
        ...

    def requests(self) -> Iterator[IdBatch]:
        """Return the ids to fetch, for each collated batch; binds at once."""
        ...

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return pairs of ids and batch, from what was fetched."""
        ...


class Progress(ABC):
    """An epoch while it is trained.

    Positions of an epoch are numbers from 0 that its batches lie at. Up to `seen` they are trained.

    Attributes:
        micro_batches: batches that were scored.
        seen: positions that were scored.
        reduced_here: micro-batches scored since the epoch was planned, or a checkpoint loaded.
        skipped: batches that were fetched and never scored.
        reach: how far passes have fetched: 1 + the highest position.
        is_over: whether all of it is trained, on ranks that then plan the next one together.
    """

    def __init__(self) -> None:
        self.micro_batches = 0
        self.reduced_here = 0
        self.seen = 0
        self.skipped = 0
        self.reach = 0
        self.is_over = False

    @property
    @abstractmethod
    def plan(self) -> Plan | Outline:
        """What is known of the epoch before it is trained."""

    def stop(self, grid: Grid, most: int | None = None) -> int:
        """Return how many positions a pass trains in at most so many batches, cut as by `grid`."""
        stop = grid.stop(len(self.plan))
        return stop if most is None else min(stop, most * grid.batch_size)

    def num_batches(self, grid: Grid, stop: int | None = None) -> int:
        """Return the batches of a rank up to a position; None: of the whole epoch."""
        stop = grid.stop(len(self.plan)) if stop is None else stop
        return -(-stop // grid.batch_size)

    def dropped(self, grid: Grid | None) -> int:
        """Return how many planned samples no rank trains."""
        size = len(self.plan)
        return 0 if grid is None else size - grid.covered(size)

    def checksum(self) -> int:
        """Return an integer that is the same for the same plan, on all ranks."""
        return self.plan.checksum()

    @property
    def is_resumed(self) -> bool:
        """Whether a part was trained before a checkpoint was loaded, and nothing since."""
        return self.seen > 0 and self.reduced_here == 0

    @property
    @abstractmethod
    def is_behind(self) -> bool:
        """Whether a loop fetched samples that were not scored."""

    @abstractmethod
    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> Feed:
        """Return what a new pass over the rest of the epoch, up to position `stop`, goes by."""

    @abstractmethod
    def ids_ahead(self, stop: int) -> Iterator[int]:
        """Yield the ids that are left, up to position `stop`, where they are known."""

    @abstractmethod
    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return where `ids`, int64 (m,), lie in the epoch, probably at `expected`.

        Raises:
            UnplannedIdError: an id is not in this epoch.
        """

    @abstractmethod
    def is_seen(self, place: Place) -> bool:
        """Return whether the first sample at `place` was scored already."""

    @abstractmethod
    def awaits(self, ids: np.ndarray) -> bool:
        """Return whether all `ids`, int64 (m,), are fetched by a loop, and unscored."""

    @abstractmethod
    def record(self, place: Place, scores: Mapping[str, Tensor]) -> None:
        """Take one micro-batch's scores, (m,) each."""

    @abstractmethod
    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i over a batch."""

    def counted(self, place: Place) -> tuple[np.ndarray | None, float]:
        """Return which samples of a batch are no copies, and what `weighted_mean` divides by.

        Copies pad the last batch of a rank: bool (m,), or None where there are none.
        """
        return None, float(place.stop - place.start if isinstance(place, slice) else len(place))

    @abstractmethod
    def release(self) -> None:
        """Free what only training needs; it is made again if the epoch goes on."""

    @property
    def is_whole(self) -> bool:
        """Whether this rank knows what all ranks have trained of the epoch."""
        return True

    def gather(self) -> None:
        """Get to know it; on several ranks every one has to call it."""

    @abstractmethod
    def row(self) -> Row:
        """Return the epoch's numbers so far."""

    @abstractmethod
    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the ledger remember the epoch as it is so far, in place; return its numbers."""

    @abstractmethod
    def remembered(self, ledger: Ledger) -> Ledger:
        """Return the ledger to save with `state_dict`: from it the epoch can be begun again."""

    @abstractmethod
    def state_dict(self) -> dict[str, object]:
        """Return what was trained so far, in fixed shapes."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore an epoch that was interrupted."""
