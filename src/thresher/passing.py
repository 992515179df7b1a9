"""Candidates out of a user's stream: what its loader makes, as many at a time as are looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, final

import numpy as np
from torch.utils.data import DataLoader

from thresher.chooser import Chooser
from thresher.choosing import ChosenProgress
from thresher.chosen import Asked
from thresher.draws import Draws
from thresher.errors import CheckpointError, EmptyEpochError
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.outline import refuse_length
from thresher.samples import Samples

# After four times so many candidate batches without enough for a batch, whatever comes is trained.
_LOOKS = 16

Reopen = Callable[[bool], Iterator[Any]]
"""Begins a new pass over the stream; true: without moving a global random stream."""


@final
class Arrivals(NamedTuple):
    """The candidates of a stream by number of arrival, as a chooser sees them.

    Args:
        num_samples: of how many enough for a batch are expected.
        seed: keys the draws.
        rank: whose stream this is, of several; None: there is one.
    """

    num_samples: int
    seed: int
    rank: int | None

    def draws(self, cursor: int) -> Draws:
        """Return the random numbers for the candidates at `cursor`."""
        return Draws(self.seed, cursor, self.rank)


@final
class Loaded:
    """The batches that a stream's loader makes: the samples of each, and the batch.

    A class, not a generator, so that a loop survives an exception in the data set as it would with
    a plain DataLoader.

    Args:
        fetched: what the loader yields.
        is_rows: whether these are batches that the data set made, and not samples beside a batch.
        reopen: begins the next pass where the stream ends; None: it ends.
    """

    def __init__(self, fetched: Iterator[Any], is_rows: bool, reopen: Reopen | None) -> None:
        self.is_quiet = False
        self._fetched = fetched
        self._is_rows = is_rows
        self._reopen = reopen
        self._is_over = False
        self._count = 0

    def __iter__(self) -> Iterator[tuple[Samples, Any]]:
        return self

    def __next__(self) -> tuple[Samples, Any]:
        if self._is_over:
            raise StopIteration
        try:
            item = next(self._fetched)
        except StopIteration:
            item = self._next_pass()
        self._count += 1
        return (Samples.rows(item), item) if self._is_rows else item

    def _next_pass(self) -> Any:
        if not self._count:
            raise EmptyEpochError(
                "A pass over the stream gave nothing",
                "samples",
                "Look at what the data set yields in this process and in each worker; one that can "
                "be iterated only once has to begin anew in __iter__",
            )
        self._is_over, self._count = self._reopen is None, 0
        if self._reopen is None:
            raise StopIteration
        self._fetched = iter(())  # its workers stop before others are started
        self._fetched = self._reopen(self.is_quiet)
        try:
            return next(self._fetched)
        except StopIteration:
            return self._next_pass()


@final
class Regrouped:
    """Samples of a stream in groups of any size, in the stream's order."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._left: Samples | None = None

    def take(self, size: int) -> tuple[Samples, Any]:
        """Return the next `size` samples, or what is left, and the batch if the loader made it so.

        Raises:
            StopIteration: nothing is left.
        """
        while self._left is None or self._left.size < size:
            try:
                samples, batch = next(self._loaded)
            except StopIteration:
                if self._left is None:
                    raise
                break
            if self._left is None and samples.size == size:
                return samples, batch
            self._left = samples if self._left is None else self._left.joined(samples)
        left, count = self._left, min(size, self._left.size)
        is_all = count == left.size
        self._left = None if is_all else left.take(np.arange(count, left.size))
        return (left if is_all else left.take(np.arange(count))), None


@final
class PassingFeed:
    """Makes a pass over a stream for an epoch whose batches are chosen.

    Args:
        epoch: the epoch.
        judge: scores and collates.
        stop: how many batches of the epoch are trained.
        arrivals: the candidates' numbers.
        reopen: begins another pass.
        is_rows: whether the data set makes batches itself.
        drops_last: whether a smaller last batch is left out.
    """

    def __init__(
        self,
        epoch: ChosenProgress,
        judge: Judge,
        stop: int,
        arrivals: Arrivals,
        reopen: Reopen,
        *,
        is_rows: bool,
        drops_last: bool,
    ) -> None:
        self._epoch = epoch
        self._judge = judge
        self._stop = stop
        self._arrivals = arrivals
        self._reopen = None if epoch.plan.num_batches is None else reopen
        self._is_rows = is_rows
        self._drops_last = drops_last

    def __len__(self) -> int:
        if self._epoch.plan.num_batches is None:
            refuse_length()
        return max(0, self._stop - self._epoch.num_done)

    def requests(self) -> Iterator[IdBatch]:
        """Return nothing: a stream cannot be asked."""
        return iter(())

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return pairs of numbers of arrival and batch, from what was fetched."""
        loaded = Loaded(fetched, self._is_rows, self._reopen)
        asked: deque[Asked] = deque()
        if self._epoch.plan.num_candidates:
            passing: Iterator[Any] = _Passing(self._epoch, loaded, asked)
        else:
            passing = _Whole(self._epoch, loaded, drops_last=self._drops_last)
        return Chooser(
            self._epoch,
            self._arrivals,
            self._judge,
            self._stop,
            passing,
            asked,
            drops_last=self._drops_last,
        )


@final
class _Whole:
    """The loader's own batches, where nothing is pruned."""

    def __init__(self, epoch: ChosenProgress, loaded: Loaded, *, drops_last: bool) -> None:
        self._least = epoch.plan.batch_size if drops_last else 1
        self._skip = epoch.num_done
        self._loaded = loaded
        self._number = 0
        self._cursor = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            self._loaded.is_quiet = self._number < self._skip
            samples, batch = next(self._loaded)
            if samples.size < self._least:
                continue
            start, self._cursor = self._cursor, self._cursor + samples.size
            self._number += 1
            if self._number > self._skip:
                return IdBatch(np.arange(start, self._cursor)), batch


@final
class _Passing:
    """Candidates, after those that wait; to find these, what was looked at is read again."""

    def __init__(self, epoch: ChosenProgress, loaded: Loaded, asked: deque[Asked]) -> None:
        self._loaded = loaded
        self._samples = Regrouped(loaded)
        self._size = epoch.plan.num_candidates
        self._standing = epoch.standing
        self._cursor = epoch.standing.begun
        self._asked = asked

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._cursor < self._standing.cursor:
            waiting = self._read_again()
            if waiting is not None:
                self._asked.append(Asked(self._cursor, self._cursor, is_queue=True))
                return IdBatch(np.sort(self._standing.queue)), (waiting, None)
        samples, batch = self._samples.take(self._size)
        start, self._cursor = self._cursor, self._cursor + samples.size
        self._asked.append(Asked(start, self._cursor, is_queue=False))
        return IdBatch(np.arange(start, self._cursor)), (samples, batch)

    def _read_again(self) -> Samples | None:
        """Read up to where the run stands; return what waits, in the order of arrival."""
        queue, found = np.sort(self._standing.queue), None
        self._loaded.is_quiet = True
        while self._cursor < self._standing.cursor:
            try:
                samples, _ = self._samples.take(
                    min(self._size, self._standing.cursor - self._cursor)
                )
            except StopIteration:
                raise CheckpointError(
                    f"The stream ended after {self._cursor - self._standing.begun} samples",
                    f"{self._standing.cursor - self._standing.begun}, which this epoch had read "
                    "when it was saved",
                    "Let the data set yield the same samples in the same order as then, as with "
                    "set_epoch(pruner.epoch) and as many workers",
                ) from None
            here = queue[(queue >= self._cursor) & (queue < self._cursor + samples.size)]
            if len(here):
                part = samples.take(here - self._cursor)
                found = part if found is None else found.joined(part)
            self._cursor += samples.size
        self._loaded.is_quiet = False
        return found


def arrivals_of(epoch: ChosenProgress, seed: int, rank: int | None) -> Arrivals:
    """Return the candidates of an epoch by number of arrival."""
    return Arrivals(_LOOKS * max(1, epoch.plan.num_candidates), seed, rank)


def reopened(
    loader: DataLoader[Any], quietly: Callable[[DataLoader[Any]], Iterator[Any]]
) -> Reopen:
    """Return what begins another pass over a loader."""
    return lambda is_quiet: quietly(loader) if is_quiet else iter(loader)
