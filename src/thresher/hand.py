"""Which batch a loss belongs to: the one fetched last, unless that cannot be told."""

from __future__ import annotations

import threading
import warnings
import weakref
from typing import Protocol, final

import numpy as np

from thresher.clock import Clock
from thresher.errors import (
    NotIteratedError,
    ReadAheadError,
    ReducedTwiceError,
    ThresherWarning,
)
from thresher.progress import Place, Progress

_PASS_IDS = (
    "Take ids = loader.batch_ids right after each fetch, keep them with the batch, "
    "and call pruner.reduce(losses, ids=ids)"
)


class Holder(Protocol):
    """An iterator over a wrapped loader, as the hand sees it."""

    progress: Progress
    place: Place | None
    fetched: int
    thread: int


@final
class Hand:
    """Follows every live iterator of a wrapped loader and tells which batch is being trained.

    Iterators are held weakly: a peek such as `next(iter(loader))` dies at once and leaves the batch
    of the running loop in hand.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holders: list[weakref.ref[Holder]] = []
        self._taking: Holder | None = None
        self._in_step = False
        self._has_warned_of_skips = False

    def fetched(self, holder: Holder) -> None:
        """Note that `holder` fetched a batch, the newest of all."""
        if self._holders and self._holders[-1]() is holder:
            return
        alive = [ref for ref in self._holders if ref() not in (None, holder)]
        self._holders = [*alive, weakref.ref(holder)]

    def latest(self) -> Holder | None:
        """Return the live iterator that fetched last, if any."""
        while self._holders:
            holder = self._holders[-1]()
            if holder is not None:
                return holder
            self._holders.pop()
        return None

    def progress_of(self, holder: Holder | None) -> Progress:
        """Return the epoch that ids given by the loop belong to."""
        return self._clock.current if holder is None else holder.progress

    def check(self) -> tuple[Progress, Place]:
        """Return the plan and the place of the batch in hand; `take` it once its losses are good.

        Raises:
            NotIteratedError: no batch of a wrapped loader is in hand.
            ReducedTwiceError: the batch in hand was reduced already.
            ReadAheadError: several batches were fetched and none of them is certain to be meant.
        """
        holder = self._taking = self.latest()
        if holder is None:
            raise NotIteratedError(
                "reduce() was called with no batch in hand",
                "a loop over the loader that pruner.wrap returned",
                "Iterate that loader, or give the ids: pruner.reduce(losses, ids=ids)",
            )
        place = holder.place
        if place is None or holder.progress.is_seen(place):
            raise ReducedTwiceError(
                f"The batch in hand (epoch {holder.progress.plan.epoch}) was reduced already",
                "one reduce for each batch",
                "If the loop reads ahead, its losses are of an earlier batch. " + _PASS_IDS,
            )
        if holder.thread != threading.get_ident():
            raise ReadAheadError(
                "The batch was fetched in another thread than the one that reduces it",
                "fetching and training in turn",
                _PASS_IDS,
            )
        if holder.fetched > 1 and not self._in_step:
            raise ReadAheadError(
                f"{holder.fetched} batches were fetched before the first loss was reduced",
                "one reduce after each fetch",
                "Whether the loop reads ahead or skipped a batch cannot be told. " + _PASS_IDS,
            )
        if len(self._holders) > 1:
            self._refuse_two_batches(holder)
        return holder.progress, place

    def _refuse_two_batches(self, holder: Holder) -> None:
        current = self._clock.current
        if holder.progress is current or not current.reduced_here:
            return
        others = (ref() for ref in self._holders[:-1])
        if any(o is not None and o.progress is current and o.place is not None for o in others):
            raise ReadAheadError(
                f"A batch of epoch {current.plan.epoch} and one of the next epoch are both in hand",
                "one iterator that is being trained",
                "Delete the iterator that is only peeked at, or name the batch. " + _PASS_IDS,
            )

    def take(self) -> None:
        """Note that the batch `check` returned is trained; count those skipped before it."""
        holder = self._taking
        assert holder is not None
        skipped = holder.fetched - 1
        # Not kept: the hand must not be what keeps a peek's iterator alive.
        holder.place, holder.fetched, self._taking = None, 0, None
        self._in_step = True
        if skipped:
            self._count_skipped(holder.progress, skipped)

    def _count_skipped(self, progress: Progress, skipped: int) -> None:
        progress.skipped += skipped
        if self._has_warned_of_skips:
            return
        self._has_warned_of_skips = True
        warnings.warn(
            f"{skipped} batch of epoch {progress.plan.epoch} was fetched but never reduced: its "
            "samples count as untrained; expected: pruner.reduce for every batch. The report counts "
            "skipped batches from here on.",
            ThresherWarning,
            stacklevel=5,
        )

    def release(self) -> None:
        """Note that the loop named its batch, so fetching and reducing need not alternate."""
        holder = self.latest()
        if holder is not None:
            holder.place, holder.fetched = None, 0

    def place_of(self, ids: np.ndarray) -> tuple[Progress, Place]:
        """Return the plan and the place of a batch that the loop names by its ids."""
        progress = self.progress_of(self.latest())
        return progress, progress.locate(ids, progress.seen)
