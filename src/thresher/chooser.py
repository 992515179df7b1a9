"""One pass over an epoch whose batches are chosen from candidates as they are fetched."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.chosen import Asked, Chosen, Laid, Source
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.online._method import Candidates, Choice, OnlineMethod
from thresher.outline import Outline
from thresher.samples import Samples
from thresher.stream import Standing, Stream

# After looking at this many times all samples, a batch is filled with whatever comes.
_PATIENCE = 4


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
        self._asked: deque[Asked] = deque()

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
    stream: Stream, plan: Outline, standing: Standing, asked: deque[Asked]
) -> Iterator[IdBatch]:
    cursor = standing.cursor
    if len(standing.queue):
        asked.append(Asked(cursor, cursor, is_queue=True))
        yield IdBatch(standing.queue, wants_samples=True)
    while True:
        ids, after = stream.take(cursor, plan.num_candidates)
        asked.append(Asked(cursor, after, is_queue=False))
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
        stream: Source,
        judge: Judge,
        stop: int,
        fetched: Iterator[Any],
        asked: deque[Asked],
        *,
        drops_last: bool = False,
    ) -> None:
        assert isinstance(judge.method, OnlineMethod)
        self._epoch = epoch
        self._stream = stream
        self._judge = judge
        self._method = judge.method
        self._stop = stop
        self._fetched = fetched
        self._asked = asked
        self._drops_last = drops_last
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
        start, waited = time.perf_counter(), self._seconds_waited
        try:
            if not self._epoch.plan.num_candidates:
                asked, batch = next(self._fetched)
                return self._laid_down(asked.ids, None, batch)
            made = self._next_chosen()
        except StopIteration:  # candidates of a data set with a length never end
            made = self._last()
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
            choice = self._chosen(samples, batch, asked, is_hopeless=is_hopeless)
            positions = choice.positions.numpy()
            if choice.weights is not None:
                if self._drops_last and len(ids) < self._epoch.plan.num_candidates:
                    continue
                made = samples.take(positions).collated(self._judge.collate)
                return self._laid_down(ids[positions], choice.weights, made)
            self._let_wait(ids, samples, positions)
        return self._from_queue(self._waiting, size)

    def _last(self) -> Any:
        """Return what still waits when a stream has ended."""
        waiting = self._waiting
        if waiting is None or not waiting.size or self._drops_last:
            self._epoch.end(self._number, self._standing)
            raise StopIteration
        return self._from_queue(waiting, waiting.size)

    def _fetch(self) -> tuple[np.ndarray, Samples, Any, Asked]:
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

    def _chosen(self, samples: Samples, batch: Any, asked: Asked, *, is_hopeless: bool) -> Choice:
        plan, standing, size = self._epoch.plan, self._standing, samples.size
        candidates = Candidates(
            size=size,
            # Of fewer, at the end of a stream, the same share.
            batch_size=max(1, plan.batch_size * size // plan.num_candidates),
            kept=plan.facts["kept"],
            scores={},
            memory=standing.memory,
            draws=self._stream.draws(asked.cursor),
        )
        forwards = standing.forwards
        if self._method.wants_scores(candidates):
            if batch is None:
                batch = samples.collated(self._judge.collate)
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
