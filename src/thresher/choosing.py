"""An epoch whose batches are chosen while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row
from thresher.chooser import ChoosingFeed
from thresher.chosen import Laid
from thresher.errors import ReducedTwiceError, UnplannedIdError
from thresher.grid import Grid
from thresher.handed import HandedBatches
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.outline import Outline, refuse_ids, refuse_length
from thresher.parallel.exchange import Exchange
from thresher.parallel.layout import Layout
from thresher.progress import Progress
from thresher.standings import Others
from thresher.steps import Place
from thresher.stream import Standing, Stream
from thresher.tally import Counts, Tally

# Batches of a pass over a stream whose end was not seen.
_ENDLESS = 2**40


@final
class ChosenProgress(Progress):
    """The batches that loops were handed, and how far training them has moved the run.

    What `seen` counts are b positions for each batch.

    Args:
        outline: how long the epoch is.
        method: chooses.
        stream: the candidates; None where they come from a stream of the user's.
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
        stream: Stream | None,
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
        self._handed = HandedBatches()
        self._end: tuple[int, Standing] | None = None
        self._passed_before = standing.cursor
        self._counts = Counts()

    @property
    def plan(self) -> Outline:
        """How long the epoch is."""
        return self._outline

    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> ChoosingFeed:
        """Return what chooses the batches that are left, up to position `stop`."""
        assert judge is not None
        assert self._stream is not None
        return ChoosingFeed(self, self._stream, judge, -(-stop // self._outline.batch_size))

    def stop(self, grid: Grid, most: int | None = None) -> int:
        """Return how many positions a pass of this rank trains in at most so many batches."""
        plan, batches = self._outline, self._outline.num_batches
        if batches is None:
            batches = _ENDLESS if self._end is None else self._end[0]
        elif not plan.num_candidates and self._stream is not None:
            return super().stop(grid, most)
        chosen = batches * plan.batch_size
        stop = chosen - chosen % grid.batch_size if grid.drop_last else chosen
        return stop if most is None else min(stop, most * grid.batch_size)

    def num_batches(self, grid: Grid, stop: int | None = None) -> int:
        """Return the batches of a rank up to a position; None: of the whole epoch.

        Raises:
            IterableDatasetError: it is one pass over a stream, and nobody knows how long that is.
        """
        if self._outline.num_batches is None:
            refuse_length()
        if self._stream is None and stop is None:
            return self._outline.num_batches
        return super().num_batches(grid, stop)

    def everyone(self) -> np.ndarray:
        """Return the ids of an epoch that trains all samples, in this rank's order."""
        assert self._stream is not None
        order = self._stream.order(self._outline.epoch)
        return order if self._layout is None else self._layout.local(order)

    def ids_ahead(self, stop: int) -> Iterator[int]:
        """Refuse: nobody knows them.

        Raises:
            SettingError: always.
        """
        refuse_ids(self._method)

    def lay(self, batch: Laid) -> None:
        """Take note of a batch that is handed to a loop."""
        self._handed.add(batch)

    def end(self, number: int, after: Standing) -> None:
        """Take note that a stream gave `number` batches, and where the run stands after it."""
        self._end = number, after
        self._finish()

    def _finish(self) -> None:
        # What comes after a stream's last batch is in force once that is trained.
        if self._end is not None and self.num_done >= self._end[0]:
            self.standing = self._end[1]
            self._count_passed()

    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return where `ids`, int64 (m,), lie: a batch or a part of one, not trained yet.

        Raises:
            UnplannedIdError: they are of no such batch.
        """
        place = self._handed.locate(ids)
        if place is None:
            raise UnplannedIdError(
                f"Epoch {self._outline.epoch} got scores of samples {ids[:5].tolist()}",
                "samples of one batch that was fetched and is not trained yet",
                "Take ids = loader.batch_ids right after each fetch, and reduce each batch once",
            )
        return place

    def is_seen(self, place: Place) -> bool:
        """Return whether the batch at `place` was trained, or another of its number."""
        return self._handed.is_seen(place)

    @property
    def is_behind(self) -> bool:
        """Whether a loop fetched batches that were not trained."""
        return self._handed.are_behind

    def awaits(self, ids: np.ndarray) -> bool:
        """Return whether `ids` are of a batch that was handed out and is not trained."""
        return self._handed.locate(ids) is not None

    def record(self, place: Place, scores: Mapping[str, Tensor]) -> None:
        """Count a batch as trained, and put in force where the run stands after it.

        Raises:
            ReducedTwiceError: it was trained already, or another batch of its number was.
        """
        handed = self._handed.at(place)
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
        real = handed.real(place, self._padding, self._outline.batch_size)
        if real is not None:
            weights, losses = weights[real], losses[torch.from_numpy(real).to(losses.device)]
        self._counts.add(weights, losses, is_new=batch.number not in self._handed.trained)
        self._handed.trained.add(batch.number)
        self.micro_batches += 1
        self.reduced_here += 1
        if batch.number >= self.num_done:
            self.standing, self.last, self.num_done = batch.after, batch, batch.number + 1
            self.seen = self._seen()
            self._count_passed()
            if batch.weights is None and set(self._method.needs) <= scores.keys():
                self._learn(batch, scores)
        # What the method remembered then is not needed again, and there are many batches.
        handed.laid = batch._replace(after=Standing())
        self._finish()
        if self.num_done == self._outline.num_batches:
            self.gather()

    def _count_passed(self) -> None:
        """Note how many samples of a stream have passed by since the epoch began, or was loaded."""
        if self._stream is None:
            looked = self.standing.cursor - self._passed_before
            self._counts.passed = looked if self._outline.num_candidates else None

    def _seen(self) -> int:
        done, plan = self.num_done * self._outline.batch_size, self._outline
        size = done if plan.num_batches is None else -(-len(plan) // self._others.world_size)
        return min(done, size)

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
            self._others.gather(self.standing, self._counts.tally(), same)

    def _learn(self, batch: Laid, scores: Mapping[str, Tensor]) -> None:
        # Nothing goes to the host for a method that learns nothing of it.
        if type(self._method).learned is not OnlineMethod.learned:
            given = {name: scores[name].detach().cpu().float() for name in self._method.needs}
            memory = self._method.learned(batch.after.memory, given)
            self.standing = replace(batch.after, memory=memory)

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i over a batch; its weights go to the losses' device."""
        handed, scale = self._handed.at(place), self._outline.scale
        real = handed.real(place, self._padding, self._outline.batch_size)
        if real is not None and self._padding is not None:
            return self._padding.mean(losses * scale, real)
        return handed.mean(place, losses, scale)

    def release(self) -> None:
        """Free nothing: the batches in hand may still be trained."""

    def row(self) -> Row:
        """Return the epoch's numbers so far: if not gathered yet, as if all were as far as this."""
        own, now = self._counts.tally(), self.micro_batches
        row = self._others.row(self._outline, now, own, self.standing.forwards)
        return replace(row, skipped_batches=self.skipped, planning_seconds=self.seconds)

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the ledger remember where the run stands; return the epoch's numbers."""
        self.gather()
        row, standing = self.row(), self.standing
        if self._stream is None:  # what still waits is let go, as the next pass begins anew
            standing = replace(standing, queue=standing.queue[:0], begun=standing.cursor)
        if self._outline.num_batches is None:
            self._outline = replace(self._outline, size=row.trained)
        standing.put_into(ledger)
        return row

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
            "end": -1 if self._end is None else self._end[0],
            "forwards": others.first(now, self.standing).forwards,
            "tally": asdict(others.total(now, self._counts.tally(), 0)[0]),
            "standings": others.state_dict(now),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore an epoch that was interrupted."""
        self.standing = self._others.load_state_dict(state, self.standing)
        self.micro_batches, self.skipped = state["micro_batches"], state["skipped"]
        self.num_done, self.reduced_here = state["num_done"], 0
        if self.num_done == state.get("end", -1):
            self._end = self.num_done, self.standing
        self._passed_before, self.seen = self.standing.cursor, self._seen()
        if self._others.world_size == 1:  # sums go on where they were, to the bit
            self._counts = Counts(Tally(**state["tally"]))
            self._passed_before = self.standing.begun
