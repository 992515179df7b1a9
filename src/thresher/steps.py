"""Which positions of a plan were scored, and in which optimizer step."""

from __future__ import annotations

from array import array
from typing import final

import numpy as np

Place = slice | np.ndarray
"""Where a batch lies in its plan: nearly always a slice, else its positions, int64, shape (m,)."""


@final
class Steps:
    """The optimizer step of each position, kept on the host: a device need not be asked.

    While batches come in plan order, as they nearly always do, where each ended says it all: 8
    bytes a batch. The first that does not makes an array of it, 4 bytes a sample.

    Args:
        size: S, positions of the plan.
        accumulation_steps: micro-batches per optimizer step.

    Attributes:
        seen: how many positions were scored.
    """

    def __init__(self, size: int, accumulation_steps: int) -> None:
        self.seen = 0
        self._size = size
        self._accumulation_steps = accumulation_steps
        self._ends = array("q")
        self._array: np.ndarray | None = None

    def add(self, place: Place, micro_batch: int) -> None:
        """Note that the positions of `place` were scored in `micro_batch`, counted from 0."""
        if self._array is None:
            if isinstance(place, slice) and place.start == self.seen:
                self.seen = place.stop
                self._ends.append(place.stop)
                return
            self._array = self.array()
        where = place if isinstance(place, slice) else np.unique(place)
        self.seen += int(np.count_nonzero(self._array[where] < 0))
        self._array[where] = micro_batch // self._accumulation_steps

    def has_begun(self, place: Place) -> bool:
        """Return whether the first position of `place` was scored."""
        first = place.start if isinstance(place, slice) else int(place[0])
        return first < self.seen if self._array is None else self._array.item(first) >= 0

    def touches(self, place: Place) -> bool:
        """Return whether any position of `place` was scored."""
        if self._array is not None:
            return bool((self._array[place] >= 0).any())
        return self.has_begun(place) if isinstance(place, slice) else bool(place.min() < self.seen)

    def unseen(self, stop: int) -> np.ndarray:
        """Return the positions below `stop` that were not scored yet, ascending: int64."""
        if self._array is None:
            return np.arange(self.seen, max(stop, self.seen))
        return np.flatnonzero(self._array[:stop] < 0)

    def array(self) -> np.ndarray:
        """Return the step of each position, -1 if it was not scored: int32, shape (S,)."""
        if self._array is not None:
            return self._array
        # One more run, of what was not scored.
        ends = np.append(self._ends, self._size).astype(np.int64)
        numbers = np.arange(len(ends), dtype=np.int32) // self._accumulation_steps
        numbers[-1] = -1
        return np.repeat(numbers, np.diff(ends, prepend=0))

    def load(self, steps: np.ndarray) -> None:
        """Take over what `array` gave."""
        self._array = steps
        self.seen = int(np.count_nonzero(steps >= 0))
