"""An epoch whose batches are chosen while it is trained."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row
from thresher.chooser import ChoosingFeed, Laid
from thresher.errors import ReducedTwiceError, SettingError, UnplannedIdError
from thresher.grid import Grid
from thresher.handed import Handed
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.outline import Outline
from thresher.parallel.exchange import Exchange
from thresher.parallel.layout import Layout
from thresher.progress import Progress
from thresher.standings import Others
from thresher.steps import Place
from thresher.stream import Standing, Stream
from thresher.tally import Tally


@final
class ChosenProgress(Progress):
    """The batches that loops were handed, and how far training them has moved the run.

    What `seen` counts are b positions for each batch; where a batch lies is a place of its own, as
    its number may be handed out twice, to a peek and to the loop. The first that is trained counts.

    Args:
        outline: how long the epoch is.
        method: chooses.
        stream: the candidates.
        standing: where the run stands when the epoch begins.
        exchange: to the other ranks, if any; each chooses among candidates of its own.
        layout: how an epoch of all samples is dealt out to them.

    Attributes:
        standing: where the run stands after the last batch that was trained.
        num_done: how many batches lie before that.
        last: that batch.
        seconds: spent on scoring and choosing.
    """

    def __init__(
        self,
        outline: Outline,
        method: OnlineMethod,
        stream: Stream,
        standing: Standing,
        exchange: Exchange | None = None,
        layout: Layout | None = None,
    ) -> None:
        super().__init__()
        self._others = Others(exchange)
        self._layout = layout
        self._padding = None if layout is None else layout.padding()
        self.standing = standing
        self.num_done = 0
        self.last: Laid | None = None
        self.seconds = 0.0
        self._outline = outline
        self._method = method
        self._stream = stream
        self._handed: list[Handed] = []
        self._starts: list[int] = []
        self._reduced: set[int] = set()
        self._tally = Tally()
        self._losses: list[Tensor] = []

    @property
    def plan(self) -> Outline:
        """How long the epoch is."""
        return self._outline

    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> ChoosingFeed:
        """Return what chooses the batches that are left, up to position `stop`."""
        assert judge is not None
        return ChoosingFeed(self, self._stream, judge, -(-stop // self._outline.batch_size))

    def stop(self, grid: Grid, most: int | None = None) -> int:
        """Return how many positions a pass of this rank trains in at most so many batches."""
        if not self._outline.num_candidates:
            return super().stop(grid, most)
        chosen = self._outline.num_batches * self._outline.batch_size
        stop = chosen - chosen % grid.batch_size if grid.drop_last else chosen
        return stop if most is None else min(stop, most * grid.batch_size)

    def everyone(self) -> np.ndarray:
        """Return the ids of an epoch that trains all samples, in this rank's order."""
        order = self._stream.order(self._outline.epoch)
        return order if self._layout is None else self._layout.local(order)

    def ids_ahead(self, stop: int) -> Iterator[int]:
        """Refuse: nobody knows them.

        Raises:
            SettingError: always.
        """
        raise SettingError(
            f"The sampler of an epoch of {type(self._method).__name__} was iterated",
            "a loop over the wrapped loader itself",
            "An online method chooses each batch when it is fetched",
        )

    def lay(self, batch: Laid) -> None:
        """Take note of a batch that is handed to a loop."""
        last = self._handed[-1] if self._handed else None
        start = 0 if last is None else last.start + len(last.seen)
        self._handed.append(Handed(batch, start))
        self._starts.append(start)

    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return where `ids`, int64 (m,), lie: a batch or a part of one, not trained yet.

        Raises:
            UnplannedIdError: they are of no such batch.

        Cost: nothing for the batch handed out last; else a look at each batch.
        """
        if self._handed and self._handed[-1].laid.ids is ids:
            start = self._handed[-1].start
            return slice(start, start + len(ids))
        for handed in reversed(self._handed):
            place = handed.locate(ids)
            if place is not None and not self._is_retold(handed):
                return place
        raise UnplannedIdError(
            f"Epoch {self._outline.epoch} got scores of samples {ids[:5].tolist()}",
            "samples of one batch that was fetched and is not trained yet",
            "Take ids = loader.batch_ids right after each fetch, and reduce each batch once",
        )

    def _is_retold(self, handed: Handed) -> bool:
        """Whether another batch of the same number was trained instead."""
        return handed.laid.number in self._reduced and not handed.seen.any()

    def _find(self, place: Place) -> Handed:
        first = place.start if isinstance(place, slice) else int(place[0])
        return self._handed[bisect_right(self._starts, first) - 1]

    def is_seen(self, place: Place) -> bool:
        """Return whether the batch at `place` was trained, or another of its number."""
        handed = self._find(place)
        return bool(handed.seen[handed.part(place)].any()) or self._is_retold(handed)

    @property
    def is_behind(self) -> bool:
        """Whether a loop fetched batches that were not trained."""
        return not {handed.laid.number for handed in self._handed} <= self._reduced

    def awaits(self, ids: np.ndarray) -> bool:
        """Return whether `ids` are of a batch that was handed out and is not trained."""
        try:
            self.locate(ids)
        except UnplannedIdError:
            return False
        return True

    def record(self, place: Place, scores: Mapping[str, Tensor]) -> None:
        """Count a batch as trained, and put in force where the run stands after it.

        Raises:
            ReducedTwiceError: it was trained already, or another batch of its number was.
        """
        handed = self._find(place)
        if self.is_seen(place):
            raise ReducedTwiceError(
                f"Batch {handed.laid.number} of epoch {self._outline.epoch} was reduced already",
                "one reduce for each batch",
                "Train what the newest iterator of the loader yields",
            )
        self._others.agree(self._common())
        batch, part = handed.laid, handed.part(place)
        handed.seen[part] = True
        losses, weights = next(iter(scores.values())).detach(), handed.weights[part]
        real = self._real(handed, place)
        if real is not None:
            weights, losses = weights[real], losses[torch.from_numpy(real).to(losses.device)]
        self._tally.add(weights, is_new=batch.number not in self._reduced)
        self._losses.append(losses)
        self._reduced.add(batch.number)
        self.micro_batches += 1
        self.reduced_here += 1
        if batch.number >= self.num_done:
            self.standing, self.last, self.num_done = batch.after, batch, batch.number + 1
            self.seen = self._seen()
            if batch.weights is None and set(self._method.needs) <= scores.keys():
                self._learn(batch, scores)
        # What the method remembered then is not needed again, and there are many batches.
        handed.laid = batch._replace(after=Standing())
        if self.num_done == self._outline.num_batches:
            self.gather()

    def _seen(self) -> int:
        size = -(-len(self._outline) // self._others.world_size)
        return min(self.num_done * self._outline.batch_size, size)

    def _real(self, handed: Handed, place: Place) -> np.ndarray | None:
        """Return which samples of a batch of all ranks' last are no copies; None if all others."""
        if self._padding is None:
            return None
        part = handed.part(place)
        first = handed.laid.number * self._outline.batch_size
        if isinstance(part, slice):
            return self._padding.is_real(slice(first + part.start, first + part.stop))
        return self._padding.is_real(first + part)

    def _common(self) -> dict[str, int]:
        plan = self._outline
        return {"epoch": plan.epoch, "plan": plan.checksum(), "batch size": plan.batch_size}

    @property
    def is_whole(self) -> bool:
        """Whether this rank knows where all of them stand."""
        return self._others.known(self.micro_batches)

    def gather(self) -> None:
        """Get to know where all ranks stand, and what they have trained."""
        if not self.is_whole:
            same = {**self._common(), "batches trained": self.micro_batches}
            self._others.gather(self.standing, self._count_broken(), same)

    def _learn(self, batch: Laid, scores: Mapping[str, Tensor]) -> None:
        # Nothing goes to the host for a method that learns nothing of it.
        if type(self._method).learned is not OnlineMethod.learned:
            given = {name: scores[name].detach().cpu().float() for name in self._method.needs}
            memory = self._method.learned(batch.after.memory, given)
            self.standing = replace(batch.after, memory=memory)

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i over a batch; its weights go to the losses' device."""
        handed, scale = self._find(place), self._outline.scale
        real = self._real(handed, place)
        if real is not None and self._padding is not None:
            return self._padding.mean(losses * scale, real)
        weights = handed.laid.weights
        if weights is None or not losses.numel():
            mean = losses.mean()
            return mean if scale == 1 else mean * scale
        shares = weights[handed.part(place)] * (scale / losses.numel())
        shares = shares.to(losses.device, non_blocking=True)
        return losses.dot(shares) if losses.dtype == torch.float32 else (losses * shares).sum()

    def release(self) -> None:
        """Free nothing: the batches in hand may still be trained."""

    def row(self) -> Row:
        """Return the epoch's numbers so far: if not gathered yet, as if all were as far as this."""
        own, now = self._count_broken(), self.micro_batches
        row = self._others.row(self._outline, now, own, self.standing.forwards)
        return replace(row, skipped_batches=self.skipped, planning_seconds=self.seconds)

    def _count_broken(self) -> Tally:
        broken = sum((~losses.isfinite()).sum() for losses in self._losses)
        self._tally.non_finite += int(broken)
        self._losses = []
        return self._tally

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the ledger remember where the run stands; return the epoch's numbers."""
        self.gather()
        self.standing.put_into(ledger)
        return self.row()

    def remembered(self, ledger: Ledger) -> Ledger:
        """Return a ledger that says where the run, or the first of all ranks, stands now."""
        now = ledger.copy()
        self._others.first(self.micro_batches, self.standing).put_into(now)
        return now

    def state_dict(self) -> dict[str, object]:
        """Return how far the epoch came and what it trained; the ledger has the rest."""
        now, others = self.micro_batches, self._others
        return {
            "micro_batches": now,
            "skipped": self.skipped,
            "num_done": self.num_done,
            "forwards": others.first(now, self.standing).forwards,
            "tally": asdict(others.total(now, self._count_broken(), 0)[0]),
            "standings": others.state_dict(now),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore an epoch that was interrupted."""
        self.standing = self._others.load_state_dict(state, self.standing)
        self.micro_batches, self.skipped = state["micro_batches"], state["skipped"]
        self.num_done, self.reduced_here = state["num_done"], 0
        self.seen = self._seen()
