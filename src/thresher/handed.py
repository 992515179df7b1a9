"""The batches of an online epoch in a loop's hands."""

from __future__ import annotations

from bisect import bisect_right
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.chosen import Laid
from thresher.parallel.layout import Padding
from thresher.steps import Place


@final
class Handed:
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

    def real(self, place: Place, padding: Padding | None, batch_size: int) -> np.ndarray | None:
        """Return which samples of a batch of all ranks' last are no copies; None if all others."""
        if padding is None:
            return None
        part, first = self.part(place), self.laid.number * batch_size
        if isinstance(part, slice):
            return padding.is_real(slice(first + part.start, first + part.stop))
        return padding.is_real(first + part)

    def mean(self, place: Place, losses: Tensor, scale: float) -> Tensor:
        """Return (1/m) Σ w_i ℓ_i times `scale`; the weights go to the losses' device."""
        weights = self.laid.weights
        if weights is None or not losses.numel():
            mean = losses.mean()
            return mean if scale == 1 else mean * scale
        shares = weights[self.part(place)] * (scale / losses.numel())
        shares = shares.to(losses.device, non_blocking=True)
        return losses.dot(shares) if losses.dtype == torch.float32 else (losses * shares).sum()

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
class HandedBatches:
    """All batches of an epoch that were handed out.

    A batch lies at a place of its own, as its number may be handed out twice, to a peek and to the
    loop. The first that is trained counts.

    Attributes:
        trained: numbers of the batches that were trained, or of which a part was.
    """

    def __init__(self) -> None:
        self.trained: set[int] = set()
        self._batches: list[Handed] = []
        self._starts: list[int] = []

    def add(self, batch: Laid) -> None:
        """Take note of a batch that is handed to a loop."""
        last = self._batches[-1] if self._batches else None
        start = 0 if last is None else last.start + len(last.seen)
        self._batches.append(Handed(batch, start))
        self._starts.append(start)

    def at(self, place: Place) -> Handed:
        """Return the batch that lies at `place`."""
        first = place.start if isinstance(place, slice) else int(place[0])
        return self._batches[bisect_right(self._starts, first) - 1]

    def locate(self, ids: np.ndarray) -> Place | None:
        """Return where `ids`, int64 (m,), lie: a batch or a part of one, not trained yet.

        Cost: nothing for the batch handed out last; else a look at each batch.
        """
        if self._batches and self._batches[-1].laid.ids is ids:
            start = self._batches[-1].start
            return slice(start, start + len(ids))
        for handed in reversed(self._batches):
            place = handed.locate(ids)
            if place is not None and not self._is_retold(handed):
                return place
        return None

    def _is_retold(self, handed: Handed) -> bool:
        """Whether another batch of the same number was trained instead."""
        return handed.laid.number in self.trained and not handed.seen.any()

    def is_seen(self, place: Place) -> bool:
        """Return whether the batch at `place` was trained, or another of its number."""
        handed = self.at(place)
        return bool(handed.seen[handed.part(place)].any()) or self._is_retold(handed)

    @property
    def are_behind(self) -> bool:
        """Whether some were not trained."""
        return not {handed.laid.number for handed in self._batches} <= self.trained
