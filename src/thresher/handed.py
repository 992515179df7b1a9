"""A batch of an online epoch in a loop's hands."""

from __future__ import annotations

from typing import final

import numpy as np

from thresher.chooser import Laid
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
