"""An epoch whose batches are chosen while it is trained."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.accounting import Row, Tally
from thresher.chooser import ChoosingFeed, Laid
from thresher.errors import ReducedTwiceError, SettingError, UnplannedIdError
from thresher.judging import Judge
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.outline import Outline
from thresher.progress import Progress
from thresher.steps import Place
from thresher.stream import Standing, Stream


@final
class _Handed:
    """A batch in a loop's hands: the places that are its own, and which of them were trained."""

    def __init__(self, laid: Laid, start: int) -> None:
        self.laid = laid
        self.start = start
        self.seen = np.zeros(len(laid.ids), dtype=np.bool_)
        self.weights = np.ones(len(laid.ids)) if laid.weights is None else laid.weights.numpy()

    def part(self, place: Place) -> Place:
        """Return a place of the epoch as one of this batch."""
        if isinstance(place, slice):
            return slice(place.start - self.start, place.stop - self.start)
        return place - self.start

    def locate(self, ids: np.ndarray) -> Place | None:
        """Return where `ids` lie in the epoch if all are of this batch and none was trained."""
        order = np.argsort(self.laid.ids)
        found = np.searchsorted(self.laid.ids[order], ids)
        positions = order[np.minimum(found, len(order) - 1)]
        if (self.laid.ids[positions] != ids).any() or self.seen[positions].any():
            return None
        if len(ids) == len(order) and (positions == np.arange(len(ids))).all():
            return slice(self.start, self.start + len(ids))
        return positions + self.start


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

    Attributes:
        standing: where the run stands after the last batch that was trained.
        num_done: how many batches lie before that.
        last: that batch.
        seconds: spent on scoring and choosing.
    """

    def __init__(
        self, outline: Outline, method: OnlineMethod, stream: Stream, standing: Standing
    ) -> None:
        super().__init__()
        self.standing = standing
        self.num_done = 0
        self.last: Laid | None = None
        self.seconds = 0.0
        self._outline = outline
        self._method = method
        self._stream = stream
        self._handed: list[_Handed] = []
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
        self._handed.append(_Handed(batch, start))
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

    def _is_retold(self, handed: _Handed) -> bool:
        """Whether another batch of the same number was trained instead."""
        return handed.laid.number in self._reduced and not handed.seen.any()

    def _find(self, place: Place) -> _Handed:
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
        batch, part = handed.laid, handed.part(place)
        handed.seen[part] = True
        self._tally.add(handed.weights[part], is_new=batch.number not in self._reduced)
        self._losses.append(next(iter(scores.values())).detach())
        self._reduced.add(batch.number)
        self.micro_batches += 1
        self.reduced_here += 1
        if batch.number >= self.num_done:
            self.standing, self.last, self.num_done = batch.after, batch, batch.number + 1
            self.seen = min(self.num_done * self._outline.batch_size, len(self._outline))
            if batch.weights is None and set(self._method.needs) <= scores.keys():
                self._learn(batch, scores)
        # What the method remembered then is not needed again, and there are many batches.
        handed.laid = batch._replace(after=Standing())

    def _learn(self, batch: Laid, scores: Mapping[str, Tensor]) -> None:
        # Nothing goes to the host for a method that learns nothing of it.
        if type(self._method).learned is not OnlineMethod.learned:
            given = {name: scores[name].detach().cpu().float() for name in self._method.needs}
            memory = self._method.learned(batch.after.memory, given)
            self.standing = replace(batch.after, memory=memory)

    def weighted_mean(self, place: Place, losses: Tensor) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i over a batch; its weights go to the losses' device."""
        handed, scale = self._find(place), self._outline.scale
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
        """Return the epoch's numbers so far."""
        outline, tally = self._outline, self._count_broken()
        # Batches vary in size; of those to come only the usual one is known.
        due = len(outline) - tally.num_reduced * outline.batch_size
        return Row(
            epoch=outline.epoch,
            planned=tally.trained + max(0, due),
            trained=tally.trained,
            skipped_batches=self.skipped,
            non_finite=tally.non_finite,
            weight_mean=outline.scale * tally.weights / max(1, tally.trained),
            weight_max=outline.scale * tally.largest,
            effective_samples=tally.weights**2 / (tally.squares or 1.0),
            asked=outline.facts.get("target", float("nan")),
            extra_forwards=self.standing.forwards,
            planning_seconds=self.seconds,
            closing_seconds=0.0,
        )

    def _count_broken(self) -> Tally:
        if self._losses:
            broken = sum((~losses.isfinite()).sum() for losses in self._losses)
            self._tally.non_finite += int(broken)
            self._losses = []
        return self._tally

    def digest(self, method: Method, ledger: Ledger) -> Row:
        """Let the ledger remember where the run stands; return the epoch's numbers."""
        self.standing.put_into(ledger)
        return self.row()

    def remembered(self, ledger: Ledger) -> Ledger:
        """Return a ledger that says where the run stands now: from there it goes on."""
        now = ledger.copy()
        self.standing.put_into(now)
        return now

    def state_dict(self) -> dict[str, object]:
        """Return how far the epoch came and what it trained; the ledger has the rest."""
        return {
            "micro_batches": self.micro_batches,
            "skipped": self.skipped,
            "num_done": self.num_done,
            "forwards": self.standing.forwards,
            "tally": asdict(self._count_broken()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore an epoch that was interrupted."""
        self.micro_batches, self.skipped = state["micro_batches"], state["skipped"]
        self.num_done, self.reduced_here = state["num_done"], 0
        self.standing = replace(self.standing, forwards=state["forwards"])
        self._tally = Tally(**state["tally"])
        self.seen = min(self.num_done * self._outline.batch_size, len(self._outline))
