"""An epoch of which each rank plans, trains and remembers its own shard."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row, num_non_finite, row_of, weighed
from thresher.dealing import RankProgress
from thresher.grid import Grid
from thresher.id_batches import IdBatch
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.parallel.evened import Evened
from thresher.parallel.exchange import Exchange
from thresher.pending import laid_out, saved
from thresher.plan import Plan, Trace
from thresher.planned import PlannedProgress
from thresher.population import Population
from thresher.steps import Place


def agree_to_plan(
    exchange: Exchange, grid: Grid | None, ledger: Ledger, same: Mapping[str, int]
) -> None:
    """Make sure that all ranks are about to plan their shards of the same epoch.

    What they tell each other on the way has the same shape on all only then.

    Raises:
        RanksDisagreeError: on every rank, if they are not.
    """
    remembered = zlib.crc32(repr(sorted(ledger.scalars.items())).encode())
    cut = {
        "batch size": 0 if grid is None else grid.batch_size,
        "full batches only": 0 if grid is None else int(grid.drop_last or grid.drops_remainder),
    }
    exchange.agree("planning an epoch", {**same, **cut, "what is remembered": remembered})


@final
class OwnedFeed:
    """The batches of a shard that are left, cut as all shards cut theirs.

    Args:
        ids: of all slots.
        left: the slots that are left.
        starts: where each batch begins, and the end.
    """

    def __init__(self, ids: np.ndarray, left: np.ndarray, starts: np.ndarray) -> None:
        self._ids = ids
        self._left = left
        cuts = np.searchsorted(left, starts)
        self._cuts = np.unique(cuts)  # without the batches that were trained

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def requests(self) -> Iterator[IdBatch]:
        """Return the ids of each batch, and its slots."""
        ids, left, cuts = self._ids, self._left, self._cuts
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            place: Place = left[start:stop]
            if place[-1] - place[0] == stop - start - 1:
                place = slice(int(place[0]), int(place[-1]) + 1)
            yield IdBatch(ids[place], place)

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return what was fetched, as it is."""
        return fetched


@final
class OwnedProgress(RankProgress):
    """This rank's shard of an epoch, trained as a plan of its own in as many steps as the others'.

    It is made, and observed, by all ranks together: what they tell each other does not grow with
    the samples. Scores stay where they are.

    Args:
        plan: this shard's part of the epoch's plan.
        names, accumulation_steps, exchange, grid: as of `RankProgress`.
        over: all samples.
    """

    def __init__(
        self,
        plan: Plan,
        names: tuple[str, ...],
        accumulation_steps: int,
        exchange: Exchange,
        grid: Grid | None,
        over: Population,
    ) -> None:
        super().__init__(plan, names, accumulation_steps, exchange, grid)
        self._over = over
        self._weighing = weighed(plan, over)
        checksums = over.gathered(np.array([plan.checksum()]))
        self._checksum = zlib.crc32(checksums.tobytes())
        self._trained_before = 0  # on all ranks, when a checkpoint was loaded
        self._batches_before = 0
        self._counts: dict[str, int] = {}
        self._counts_at = -1
        self._lay(None, is_cut_anew=False)

    def _lay(self, done: np.ndarray | None, *, is_cut_anew: bool) -> None:
        plan, grid, self._even = self._plan, self._grid, None
        if grid is not None:
            self._even = Evened(plan, grid, self._over, done, is_cut_anew=is_cut_anew)
        self._cut = "anew" if is_cut_anew else self._own_cut
        part = plan if self._even is None else self._even.part()
        self._inner = PlannedProgress(part, self._names, self._accumulation_steps)
        # Of every batch but those with one sample less; also after a resume.
        self._inner.share_size = 0 if self._even is None else self._even.usual

    @property
    def _own_cut(self) -> str:
        return "" if self._grid is None else repr(replace(self._grid, rank=0))

    def stop(self, grid: Grid, most: int | None = None) -> int:
        """Return how many slots a pass of this rank trains in at most so many batches."""
        if self._even is None:
            return super().stop(grid, most)
        starts = self._even.starts
        last = len(starts) - 1
        return int(starts[last if most is None else min(last, max(0, most - self._batches_before))])

    def num_batches(self, grid: Grid, stop: int | None = None) -> int:
        """Return the batches of a rank up to a slot; None: of the whole epoch."""
        if self._even is None:
            return super().num_batches(grid, stop)
        starts = self._even.starts
        last = len(starts) - 1 if stop is None else int(np.searchsorted(starts, stop))
        return self._batches_before + last

    def dropped(self, grid: Grid | None) -> int:
        """Return how many planned samples no rank trains."""
        return 0 if self._even is None else self._plan.num_planned - self._trained_after(None)

    def _trained_after(self, batches: int | None) -> int:
        assert self._even is not None
        return self._trained_before + int(self._even.reals[:batches].sum())

    def feed(self, batch_size: int, stop: int, judge: Judge | None) -> OwnedFeed:
        """Return the batches of this rank that are left."""
        assert self._even is not None
        left = self._inner.unseen(stop)
        return OwnedFeed(self._inner.plan.ids.numpy(), left, self._even.starts)

    def locate(self, ids: np.ndarray, expected: int = 0) -> Place:
        """Return the slots that `ids` lie in."""
        even, shard = self._even, self._plan.shard
        if even is not None and len(even.spares) and len(ids) == 1 and not shard.own(ids)[0]:
            # Only the last of these can be a sample of another shard.
            last = int(even.spares[-1])
            return slice(last, last + 1)
        return self._inner.locate(ids, expected)

    def checksum(self) -> int:
        """Return that of the plans of all shards."""
        return self._checksum

    def _common(self) -> dict[str, int]:
        return {
            "epoch": self._plan.epoch,
            "plan": self._checksum,
            "batch size": 0 if self._grid is None else self._grid.batch_size,
            "batches of a rank": 0 if self._even is None else len(self._even.reals),
            "accumulation steps": self._accumulation_steps,
        }

    def _end(self) -> None:
        self.gather()
        self.is_over = True

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return this rank's part of the mean over the global batch: that of the ranks' is it."""
        real = None if self._even is None else self._even.real(place)
        if real is not None:
            # Multiplied by zero, a loss that is infinite would be NaN.
            losses = torch.where(torch.from_numpy(real).to(losses.device), losses, 0)
        return self._inner.weighted_mean(place, losses)

    def gather(self) -> None:
        """Get to know how much all ranks have trained; every rank has to call it.

        Raises:
            RanksDisagreeError: the ranks are not alike, or have not taken equal steps.
        """
        if self._counts_at == self.micro_batches:
            return
        same, trace = {**self._common(), "batches trained": self.micro_batches}, self._trace()
        own = {
            "trained": int(np.count_nonzero(trace.seen.numpy())),
            "broken": num_non_finite(trace),
        }
        told = self._exchange.agree("gathering scores", same, {**own, "skipped": self.skipped})
        self.skipped, self._counts_at = int(told["skipped"].max()), self.micro_batches
        self._counts = {name: int(told[name].sum()) for name in own}

    def _trace(self) -> Trace:
        """The scores of this shard's plan."""
        trace, even = self._inner.trace(), self._even
        if even is None:
            return trace
        return Trace(
            scores={
                name: torch.from_numpy(even.merged(score.numpy(), np.nan))
                for name, score in trace.scores.items()
            },
            step=torch.from_numpy(even.merged(trace.step.numpy(), -1)),
        )

    def row(self) -> Row:
        """Return the epoch's numbers so far: if not gathered yet, as if all were as far as this."""
        counts = self._counts
        if self._counts_at != self.micro_batches:
            counts = {"trained": self._about_trained(), "broken": num_non_finite(self._trace())}
        row = row_of(self._plan, None, weighing=self._weighing, skipped_batches=self.skipped)
        return replace(row, trained=counts["trained"], non_finite=counts["broken"])

    def _about_trained(self) -> int:
        if self._even is not None:
            return self._trained_after(self.reduced_here)
        return round(self._plan.num_planned * self.seen / max(1, len(self._plan)))

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the method observe this shard's trace into its ledger; return the epoch's numbers."""
        self.gather()
        method.observe(ledger, self._plan, self._trace())
        return self.row()

    def state_dict(self) -> dict[str, object]:
        """Return the scores so far by row, and how the batches they came in were cut."""
        return {
            "micro_batches": self.micro_batches,
            "skipped": self.skipped,
            "share_size": 0,
            "cut": self._cut,
            "plan": self._checksum,
            **saved(self._plan, self._trace()),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the scores of an epoch that was interrupted; all ranks do so together.

        Raises:
            RanksDisagreeError: they were not saved at the same moment.
        """
        trace, done, skipped = (
            laid_out(self._plan, state, self._names),
            state["micro_batches"],
            state["skipped"],
        )
        assert isinstance(done, int)
        assert isinstance(skipped, int)
        where = np.flatnonzero(trace.seen.numpy())
        # All refuse a plan that is not the saved one, or none does.
        before = state["plan"]
        assert isinstance(before, int)
        same = {**self._common(), "batches when saved": done, "plan when saved": before}
        told = self._exchange.agree("continuing an epoch", same, {"seen": len(where)})
        self._trained_before, self._batches_before = int(told["seen"].sum()), done
        if done:
            self._lay(where, is_cut_anew=state.get("cut") != self._own_cut)
        if self._even is not None:
            trace = self._local(trace, self._even)
        self._inner.resume(trace, done)
        self._follow()
        self.is_over = self._even is not None and self._is_complete
        self.skipped, self._counts_at, self._has_agreed = skipped, -1, False

    def _local(self, trace: Trace, even: Evened) -> Trace:
        return Trace(
            scores={
                name: torch.from_numpy(np.array(even.local(score.numpy(), np.nan)))
                for name, score in trace.scores.items()
            },
            step=torch.from_numpy(np.array(even.local(trace.step.numpy(), -1))),
        )
