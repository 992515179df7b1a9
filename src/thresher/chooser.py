"""One pass over an epoch whose batches are chosen from candidates as they are fetched."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, final

import numpy as np
import torch
from torch import Tensor

from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.online._method import Candidates, Choice, OnlineMethod
from thresher.outline import Outline
from thresher.samples import Samples
from thresher.stream import Standing, Stream

# After looking at this many times all samples, a batch is filled with whatever comes.
_PATIENCE = 4


class Laid(NamedTuple):
    """A batch that was handed to a loop.

    Args:
        number: which one of the epoch, from 0.
        ids: int64, shape (m,), unique.
        weights: float32, shape (m,); None means 1 for each, for samples that waited.
        after: where the run stands once it is trained.
    """

    number: int
    ids: np.ndarray
    weights: Tensor | None
    after: Standing


class Chosen(Protocol):
    """An epoch in progress, as a chooser sees it."""

    seconds: float

    @property
    def plan(self) -> Outline:
        """How long the epoch is."""
        ...

    @property
    def standing(self) -> Standing:
        """Where the run stands after the last batch that was trained."""
        ...

    @property
    def num_done(self) -> int:
        """How many batches lie before that."""
        ...

    @property
    def last(self) -> Laid | None:
        """The batch that was trained last."""
        ...

    def everyone(self) -> np.ndarray:
        """Return the ids of an epoch that trains all samples, in order: int64."""
        ...

    def lay(self, batch: Laid) -> None:
        """Take note of a batch that is handed to a loop."""
        ...


class _Asked(NamedTuple):
    """What was asked of the data set: candidates, or the queue, before which nothing moves."""

    cursor: int
    after: int
    is_queue: bool


@final
class ChoosingFeed:
    """Asks for all samples in their order, or for candidates without end.

    Args:
        epoch: the epoch.
        stream: the candidates.
        judge: scores and collates.
        stop: how many batches of the epoch are trained.
    """

    def __init__(self, epoch: Chosen, stream: Stream, judge: Judge, stop: int) -> None:
        self._epoch = epoch
        self._stream = stream
        self._judge = judge
        self._stop = stop
        self._asked: deque[_Asked] = deque()

    def __len__(self) -> int:
        return max(0, self._stop - self._epoch.num_done)

    def requests(self) -> Iterator[IdBatch]:
        """Return the ids to fetch."""
        plan = self._epoch.plan
        if not plan.num_candidates:
            ids = self._epoch.everyone()
            return _whole_batches(ids, plan.batch_size, self._epoch.num_done, self._stop)
        return _candidates(self._stream, plan, self._epoch.standing, self._asked)

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return pairs of ids and batch, from what was fetched."""
        return Chooser(self._epoch, self._stream, self._judge, self._stop, fetched, self._asked)


# Functions, not methods of a chooser: its workers hold what asks them, and with a cycle they would
# be left to the garbage collector, from which torch takes seconds to stop them.
def _whole_batches(ids: np.ndarray, size: int, number: int, stop: int) -> Iterator[IdBatch]:
    return (IdBatch(ids[start : start + size]) for start in range(number * size, stop * size, size))


def _candidates(
    stream: Stream, plan: Outline, standing: Standing, asked: deque[_Asked]
) -> Iterator[IdBatch]:
    cursor = standing.cursor
    if len(standing.queue):
        asked.append(_Asked(cursor, cursor, is_queue=True))
        yield IdBatch(standing.queue, wants_samples=True)
    while True:
        ids, after = stream.take(cursor, plan.num_candidates)
        asked.append(_Asked(cursor, after, is_queue=False))
        cursor = after
        yield IdBatch(ids, wants_samples=True, is_scored=True)


@final
class Chooser:
    """Makes batches of what the method chooses among the candidates that were fetched.

    Nothing of it moves the run: each batch carries where the run stands after it, and training it
    puts that in force. So a peek costs only time, and a run that was stopped goes on with the
    candidates that come after its last trained batch.
    """

    def __init__(
        self,
        epoch: Chosen,
        stream: Stream,
        judge: Judge,
        stop: int,
        fetched: Iterator[Any],
        asked: deque[_Asked],
    ) -> None:
        assert isinstance(judge.method, OnlineMethod)
        self._epoch = epoch
        self._stream = stream
        self._judge = judge
        self._method = judge.method
        self._stop = stop
        self._fetched = fetched
        self._asked = asked
        self._number = epoch.num_done
        self._standing = epoch.standing
        self._laid: Laid | None = None
        self._waiting: Samples | None = None
        self._seconds_waited = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._number >= self._stop:
            raise StopIteration
        laid = self._laid
        if laid is not None and self._epoch.last is laid and self._standing is laid.after:
            # Training may have taught the method something. Not if a fetch has failed since, after
            # others: what these let wait is not known to the epoch.
            self._standing = self._epoch.standing
        if not self._epoch.plan.num_candidates:
            asked, batch = next(self._fetched)
            return self._laid_down(asked.ids, None, batch)
        start, waited = time.perf_counter(), self._seconds_waited
        made = self._next_chosen()
        self._epoch.seconds += time.perf_counter() - start - (self._seconds_waited - waited)
        return made

    def _laid_down(self, ids: np.ndarray, weights: Tensor | None, batch: Any) -> Any:
        if weights is not None:
            weights = weights.clamp(max=self._epoch.plan.max_weight)
        self._laid = Laid(self._number, ids, weights, self._standing)
        self._epoch.lay(self._laid)
        self._number += 1
        return IdBatch(ids), batch

    def _next_chosen(self) -> Any:
        size, looked = self._epoch.plan.batch_size, 0
        while self._waiting is None or self._waiting.size < size:
            ids, samples, batch, asked = self._fetch()
            if asked.is_queue:
                self._wait_again(ids, samples)
                continue
            looked += len(ids)
            is_hopeless = looked > _PATIENCE * self._stream.num_samples
            choice = self._chosen(len(ids), batch, asked, is_hopeless=is_hopeless)
            positions = choice.positions.numpy()
            if choice.weights is not None:
                made = samples.take(positions).collated(self._judge.collate)
                return self._laid_down(ids[positions], choice.weights, made)
            self._let_wait(ids, samples, positions)
        return self._from_queue(self._waiting, size)

    def _fetch(self) -> tuple[np.ndarray, Samples, Any, _Asked]:
        start = time.perf_counter()
        try:
            asked, (samples, batch) = next(self._fetched)
        except BaseException:
            # What could not be fetched is passed over, as a plain loader does.
            if self._asked and self._asked.popleft().is_queue:
                self._standing = replace(self._standing, queue=self._standing.queue[:0])
            raise
        self._seconds_waited += time.perf_counter() - start
        return asked.ids, samples, batch, self._asked.popleft()

    def _chosen(self, size: int, batch: Any, asked: _Asked, *, is_hopeless: bool) -> Choice:
        plan, standing = self._epoch.plan, self._standing
        candidates = Candidates(
            size=size,
            batch_size=plan.batch_size,
            kept=plan.facts["kept"],
            scores={},
            memory=standing.memory,
            draws=self._stream.draws(asked.cursor),
        )
        forwards = standing.forwards
        if self._method.wants_scores(candidates):
            candidates = replace(candidates, scores=self._judge.scores(batch, size))
            forwards += size
        choice = self._method.choose(candidates)
        if is_hopeless and choice.weights is None:
            choice = choice._replace(positions=torch.arange(size, device="cpu"))
        self._standing = replace(
            standing, cursor=asked.after, memory=choice.memory, forwards=forwards
        )
        return choice

    def _let_wait(self, ids: np.ndarray, samples: Samples, positions: np.ndarray) -> None:
        # One that waits already, chosen where two orders meet, is not trained twice in a batch.
        positions = positions[~np.isin(ids[positions], self._standing.queue)]
        queue = np.concatenate([self._standing.queue, ids[positions]])
        new = samples.take(positions)
        self._waiting = new if self._waiting is None else self._waiting.joined(new)
        self._standing = replace(self._standing, queue=queue)

    def _wait_again(self, ids: np.ndarray, samples: Samples) -> None:
        # A data set may have put the ids in another order.
        order = np.argsort(ids)
        self._waiting = samples.take(order[np.searchsorted(ids[order], self._standing.queue)])

    def _from_queue(self, waiting: Samples, size: int) -> Any:
        ids = self._standing.queue[:size]
        made = waiting.take(np.arange(size)).collated(self._judge.collate)
        self._waiting = waiting.take(np.arange(size, waiting.size))
        self._standing = replace(self._standing, queue=self._standing.queue[size:])
        return self._laid_down(ids, None, made)
