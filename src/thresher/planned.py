"""A plan while it is trained: where its scores are written and its weights are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row, row_of
from thresher.errors import UnplannedIdError
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.pending import laid_out, no_scores, saved
from thresher.plan import Plan, Trace
from thresher.progress import Progress
from thresher.steps import Place, Steps
from thresher.together import Together


@final
class PlannedFeed:
    """The batches of a plan that are left.

    Args:
        progress: the epoch.
        batch_size: samples a batch.
        stop: up to which position.
    """

    def __init__(self, progress: PlannedProgress, batch_size: int, stop: int) -> None:
        self._progress = progress
        self._batch_size = batch_size
        self._stop = stop

    def __len__(self) -> int:
        left = self._stop - self._progress.seen
        return -(-max(left, 0) // self._batch_size)

    def requests(self) -> Iterator[IdBatch]:
        """Return the ids of each batch."""
        return self._progress.batches(self._batch_size, self._stop)

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return what was fetched, as it is."""
        return fetched


@final
class PlannedProgress(Progress):
    """A plan, the scores seen so far in plan order, and the weights on the device of the losses.

    Args:
        plan: the epoch's plan.
        names: the scores to keep.
        accumulation_steps: micro-batches per optimizer step.
    """

    def __init__(self, plan: Plan, names: tuple[str, ...], accumulation_steps: int) -> None:
        super().__init__()
        self._plan = plan
        self._names = names
        self._ids = plan.ids.numpy()
        self._steps = Steps(len(plan), accumulation_steps)
        self._scores: dict[str, Tensor] = {}
        # Writing to and slicing a numpy view takes half as long as the same in torch.
        self._host_scores: dict[str, np.ndarray] = {}
        self._together: Together | None = None
        self._is_unweighted = plan.is_unweighted
        self._shares: Tensor | None = None
        self._host_shares: np.ndarray | None = None
        self.share_size = 0
        self._position: np.ndarray | None = None

    @property
    def plan(self) -> Plan:
        """The epoch's plan."""
        return self._plan

    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return where `ids`, int64 (m,), lie in the plan: the slice at `expected` if it is that.

        Raises:
            UnplannedIdError: an id is not in this epoch's plan.

        Cost: one comparison of m ids; a table of the plan's positions is made if it is needed.
        """
        stop = expected + len(ids)
        # Both are int64; comparing bytes is several times faster than comparing elements.
        if stop <= len(self._ids) and self._ids[expected:stop].tobytes() == ids.tobytes():
            return slice(expected, stop)
        positions = self._lookup(ids)
        if len(positions) and (positions == np.arange(positions[0], positions[0] + len(ids))).all():
            return slice(int(positions[0]), int(positions[0]) + len(ids))
        return positions

    def _lookup(self, ids: np.ndarray) -> np.ndarray:
        num_samples, shard = self.plan.num_samples, self.plan.shard
        if self._position is None:
            size, own = max(1, shard.num_rows(num_samples)), shard.own(self._ids)
            self._position = np.full(size, -1, dtype=np.int32 if size < 2**31 else np.int64)
            self._position[shard.rows(self._ids[own])] = np.flatnonzero(own)
        known = (ids >= 0) & (ids < num_samples) & shard.own(ids)
        rows = shard.rows(np.where(known, ids, shard.index))
        positions = np.where(known, self._position[rows], np.int64(-1))
        if (positions < 0).any():
            strangers = ids[positions < 0][:5].tolist()
            raise UnplannedIdError(
                f"Epoch {self.plan.epoch} got scores of samples {strangers}",
                f"only samples of its plan ({len(self._ids)} of {num_samples})",
                f"Train on pruner.plan({self.plan.epoch}).ids, and report those ids",
            )
        return positions

    def is_seen(self, place: Place) -> bool:
        """Return whether the first sample at `place` was scored already."""
        return self._steps.has_begun(place)

    @property
    def is_behind(self) -> bool:
        """Whether a loop fetched samples that were not scored."""
        return len(self.unseen(self.reach)) > 0

    def awaits(self, ids: np.ndarray) -> bool:
        """Return whether all `ids`, int64 (m,), are planned, fetched by a loop, and unscored."""
        if not self.is_behind:  # as an epoch that is done, which then needs no table
            return False
        try:
            place = self.locate(ids, self.seen)
        except UnplannedIdError:
            return False
        stop = place.stop if isinstance(place, slice) else int(place.max()) + 1
        return stop <= self.reach and not self._steps.touches(place)

    def record(self, place: Place, scores: Mapping[str, Tensor]) -> None:
        """Write one micro-batch's scores, (m,) each, without reading anything back."""
        if not isinstance(place, slice):
            self._record_scattered(place, scores)
        elif self._together is None or not self._together.write(place, scores):
            hosts = self._host_scores
            for name in self._names:
                score, host = scores[name], hosts.get(name)
                if host is not None and score.is_cpu and score.dtype is torch.float32:
                    host[place] = score.numpy(force=True)
                else:
                    self._buffer(name, score)[place].copy_(score.detach())
        self._steps.add(place, self.micro_batches)
        self.seen = self._steps.seen
        self.micro_batches += 1
        self.reduced_here += 1

    def _record_scattered(self, place: np.ndarray, scores: Mapping[str, Tensor]) -> None:
        # Of a repeated id the last score wins; indexed assignment promises no order.
        where, last = np.unique(place[::-1], return_index=True)
        last = torch.from_numpy(len(place) - 1 - last)
        for name in self._names:
            score = scores[name].detach()
            buffer = self._buffer(name, score)
            values = score[last.to(score.device)].to(buffer.dtype)
            buffer[torch.from_numpy(where).to(buffer.device)] = values

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """The trace of one score, on the device the scores come from."""
        buffer = self._scores.get(name)
        if buffer is None and like.is_cpu and len(self._names) > 1 and not self._scores:
            self._together = Together(self._names, len(self.plan))
            self._scores.update(self._together.scores())
            buffer = self._scores[name]
        elif buffer is None:
            buffer = self._scores[name] = no_scores(len(self.plan), like.device)
        elif buffer.device != like.device:
            buffer = self._scores[name] = buffer.to(like.device)
        if buffer.is_cpu:
            self._host_scores[name] = buffer.numpy()
        else:
            self._host_scores.pop(name, None)
            self._together = None
        return buffer

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i over a batch; weights go to the losses' device once an epoch."""
        size = losses.numel()
        if self._is_unweighted or not size:
            return losses.mean()
        if self._shares is None or self._shares.device != losses.device:
            weights = self.plan.weights.to(losses.device, non_blocking=True)
            # Divided once an epoch, so that a step multiplies and sums in one call; by the size of
            # its first batch, also after a resume, or the means would be rounded differently.
            self.share_size = self.share_size or size
            self._shares = weights / self.share_size
            self._host_shares = self._shares.numpy() if losses.is_cpu else None
        if not isinstance(place, slice):
            shares = self._shares[torch.from_numpy(place).to(losses.device)]
        elif self._host_shares is None:
            shares = self._shares[place]
        else:
            shares = torch.from_numpy(self._host_shares[place])
        is_single = losses.dtype == torch.float32
        mean = losses.dot(shares) if is_single else (losses * shares).sum()
        return mean if size == self.share_size else mean * (self.share_size / size)

    def release(self) -> None:
        """Free what only training needs; it is made again if the epoch goes on."""
        self._shares = self._host_shares = None

    def unseen(self, stop: int) -> np.ndarray:
        """Return the positions below `stop` that were not trained yet, ascending: int64."""
        return self._steps.unseen(stop)

    def batches(self, batch_size: int, stop: int) -> Iterator[IdBatch]:
        """Return the ids of each batch that is left, in plan order, up to position `stop`."""
        if self.seen == 0:
            return _in_order(self._ids[:stop], batch_size)
        left = self.unseen(stop)
        return (
            IdBatch(self._ids[left[start : start + batch_size]])
            for start in range(0, len(left), batch_size)
        )

    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> PlannedFeed:
        """Return the batches that are left, up to position `stop`."""
        return PlannedFeed(self, batch_size, stop)

    def ids_ahead(self, stop: int) -> Iterator[int]:
        """Yield the ids that are left, up to position `stop`."""
        return (id_ for batch in self.batches(4096, stop) for id_ in batch.ids.tolist())

    def row(self) -> Row:
        """Return the epoch's numbers so far."""
        return row_of(self.plan, self.trace(), skipped_batches=self.skipped)

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the method observe the trace into `ledger`; return the epoch's numbers."""
        trace = self.trace()
        method.observe(ledger, self.plan, trace)
        return row_of(self.plan, trace, skipped_batches=self.skipped)

    def remembered(self, ledger: Ledger) -> Ledger:
        """Return the ledger as it was when the epoch was planned: the plan is made of it again."""
        return ledger

    def trace(self) -> Trace:
        """Return the scores so far on the host: the one transfer of an epoch."""
        scores = {
            name: self._scores[name].cpu() if name in self._scores else no_scores(len(self.plan))
            for name in self._names
        }
        return Trace(scores=scores, step=torch.from_numpy(self._steps.array()))

    def state_dict(self) -> dict[str, object]:
        """Return the scores so far by sample id, shape (n,), NaN = unseen, and when they came."""
        return {
            "micro_batches": self.micro_batches,
            "skipped": self.skipped,
            "share_size": self.share_size,
            **saved(self.plan, self.trace()),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the scores of an epoch that was interrupted."""
        done, skipped, share_size = (
            state[name] for name in ("micro_batches", "skipped", "share_size")
        )
        assert isinstance(done, int)
        assert isinstance(skipped, int)
        assert isinstance(share_size, int)
        self.resume(laid_out(self.plan, state, self._names), done)
        self.skipped, self._shares, self.share_size = skipped, None, share_size

    def resume(self, trace: Trace, done: int) -> None:
        """Go on after `done` micro-batches, in which `trace` was seen."""
        self._steps.load(trace.step.numpy())
        self._scores, self._host_scores, self._together = dict(trace.scores), {}, None
        self.micro_batches, self.reduced_here, self.seen = done, 0, self._steps.seen


def _in_order(ids: np.ndarray, batch_size: int) -> Iterator[IdBatch]:
    # A call of Python less each batch than IdBatch(...).
    make: Callable[..., IdBatch] = tuple.__new__
    for start in range(0, len(ids), batch_size):
        place = slice(start, min(start + batch_size, len(ids)))
        yield make(IdBatch, (ids[place], place, False, False))
