"""Which batch a loss belongs to: the one fetched last, unless that cannot be told."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Protocol, final

import numpy as np

from thresher.clock import Clock
from thresher.errors import (
    NotIteratedError,
    ReadAheadError,
    ReducedTwiceError,
    ThresherWarning,
)
from thresher.progress import Progress
from thresher.steps import Place

_PASS_IDS = (
    "Take ids = loader.batch_ids right after each fetch, keep them with the batch, "
    "and call pruner.reduce(losses, ids=ids)"
)


class Holder(Protocol):
    """An iterator over a wrapped loader, as the hand sees it."""

    progress: Progress
    place: Place | None
    ids: np.ndarray
    fetched: int
    thread: int
    is_named: bool
    reduced_before: int


def _nobody() -> None:
    """What a weak reference that has no referent would say."""


@final
class Hand:
    """Follows every live iterator of a wrapped loader and tells which batch is being trained.

    Iterators are held weakly: a peek such as `next(iter(loader))` dies at once and leaves the batch
    of the running loop in hand.

    Attributes:
        newest: says who fetched last, or None if that iterator is gone.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.newest: Callable[[], Holder | None] = _nobody
        self._holders: list[Callable[[], Holder | None]] = []
        self._in_step = False
        self._has_warned_of_skips = False
        self._has_warned_of_idling = False

    def hold(self, holder: Holder) -> None:
        """Note that `holder` fetched a batch, the newest of all."""
        alive = [ref for ref in self._holders if ref() not in (None, holder)]
        self.newest = weakref.ref(holder)
        self._holders = [*alive, self.newest]

    def latest(self) -> Holder | None:
        """Return the live iterator that fetched last, if any."""
        holder = self.newest()
        if holder is None and self._holders:
            self._holders = [ref for ref in self._holders if ref() is not None]
            self.newest = self._holders[-1] if self._holders else _nobody
            holder = self.newest()
        return holder

    def check(self) -> tuple[Holder, Progress, Place]:
        """Return whose batch is in hand, its plan and its place; `take` it once losses are good.

        Raises:
            NotIteratedError: no batch of a wrapped loader is in hand.
            ReducedTwiceError: the batch in hand was reduced already.
            ReadAheadError: several batches were fetched and none of them is certain to be meant.
        """
        holder = self.newest()
        if holder is None:
            holder = self.latest()
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
        if holder.thread != get_ident():
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
        return holder, holder.progress, place

    def _refuse_two_batches(self, holder: Holder) -> None:
        current = self._clock.current
        is_later = holder.progress is not current and current.reduced_here > 0
        for other in self._alive()[:-1]:
            # A peek kept alive is no rival once the loop has trained the batch that was peeked at.
            if other.place is None or other.progress.is_seen(other.place):
                continue
            is_ahead = holder.fetched > 1 and other.progress is holder.progress
            if is_ahead or (is_later and other.progress is current):
                raise ReadAheadError(
                    f"Batches of epochs {other.progress.plan.epoch} and "
                    f"{holder.progress.plan.epoch} are in hand, from two iterators",
                    "one iterator that is being trained",
                    "Delete the iterator that is only peeked at, or name the batch. " + _PASS_IDS,
                )

    def _alive(self) -> list[Holder]:
        """The live iterators, the one that fetched last at the end."""
        return [holder for ref in self._holders if (holder := ref()) is not None]

    def take(self, holder: Holder | None, *, is_named: bool) -> None:
        """Note that the batch of `check`, or of `named`, is trained.

        If the loop did not name it, those fetched before it were skipped, and are counted.
        """
        if holder is None:
            return
        if is_named:
            holder.place, holder.fetched, holder.is_named = None, 0, True
            return
        skipped = holder.fetched - 1
        holder.place, holder.fetched = None, 0
        self._in_step = True
        if len(self._holders) > 1:
            # What else was fetched before this reduce was only peeked at.
            for other in self._alive()[:-1]:
                other.place = None
        if skipped:
            self._count_skipped(holder.progress, skipped)

    def _count_skipped(self, progress: Progress, skipped: int) -> None:
        progress.skipped += skipped
        if self._has_warned_of_skips:
            return
        self._has_warned_of_skips = True
        warnings.warn(
            f"Batches of epoch {progress.plan.epoch} that were fetched but never reduced: "
            f"{skipped}, whose samples count as untrained; expected: pruner.reduce for each batch. "
            "The report counts skipped batches from here on.",
            ThresherWarning,
            stacklevel=4,
        )

    def ended(self, holder: Holder) -> None:
        """Count what a pass at its end never reduced, unless the loop names its batches."""
        is_trained = holder.progress.reduced_here > holder.reduced_before
        # The only batch of an epoch may well be reduced after the end that shows it to be the last.
        if holder.is_named or holder.fetched <= (0 if is_trained else 1):
            return
        left, holder.fetched, holder.place = holder.fetched, 0, None
        if is_trained:
            if holder.progress.is_behind:
                self._count_skipped(holder.progress, left)
        elif not self._has_warned_of_idling:
            self._has_warned_of_idling = True
            warnings.warn(
                f"A whole pass over the plan of epoch {holder.progress.plan.epoch} ended and none "
                f"of its {left} batches was reduced, so the epoch is still to be trained; "
                "expected: loss = pruner.reduce(losses) for every batch. To look at the data or to "
                "evaluate on it, iterate the loader that was given to pruner.wrap.",
                ThresherWarning,
                stacklevel=3,
            )

    def named(self, ids: np.ndarray) -> tuple[Holder | None, Progress, Place]:
        """Return the plan and the place of a batch that the loop names by its ids.

        Fetching and reducing need not alternate then. Whoever fetched last is returned, too, to be
        given to `take` once the batch's losses are good.
        """
        holder = self.newest()
        if holder is None:
            holder = self.latest()
        if holder is not None and holder.progress is self._clock.certain:
            # In every loop that does not read ahead. Comparing bytes is faster than elements.
            if holder.place is not None and holder.ids.tobytes() == ids.tobytes():
                return holder, holder.progress, holder.place
            progress = holder.progress
        else:
            progress = self._epoch_of(ids, holder)
        return holder, progress, progress.locate(ids, progress.seen)

    def _epoch_of(self, ids: np.ndarray, holder: Holder | None) -> Progress:
        """The plan that a batch was fetched from, while there are batches of two epochs about."""
        current, coming = self._clock.current, self._clock.provisional
        if coming is None and (holder is None or holder.progress is current):
            return current
        plans = [plan for plan in (current, coming) if plan is not None and plan.awaits(ids)]
        # What a broken epoch fetched and left may come again in the next: the live loop has it.
        alive = [plan for plan in plans if any(each.progress is plan for each in self._alive())]
        if plans:
            return (alive or plans[::-1])[0]
        return current if holder is None else holder.progress
