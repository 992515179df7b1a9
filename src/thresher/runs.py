"""Stretches of neighbouring samples that were scored together, and sums over each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, final

import numpy as np

from thresher.population import Stretch

# Work in pieces keeps temporaries in the cache, and small.
_CHUNK = 1 << 15


class Piece(NamedTuple):
    """Neighbouring samples: their `places` in the plan, their `runs`, and the `sizes` of these."""

    places: slice
    runs: slice
    sizes: np.ndarray


@final
class Runs:
    """The stretches of a plan that were scored in one optimizer step each.

    Sums over runs are several times as fast as sums by each sample's step.

    Args:
        step: the step of each sample, shape (S,).

    Attributes:
        step: the step of each run, int64.
        sizes: the samples of each run, int64.
    """

    def __init__(self, step: np.ndarray) -> None:
        changes = np.flatnonzero(step[1:] != step[:-1]) + 1
        self._starts = np.concatenate([np.zeros(min(len(step), 1), dtype=np.int64), changes])
        self.step = step.take(self._starts).astype(np.int64)
        self.sizes = np.diff(self._starts, append=len(step))

    def sums(self, values: np.ndarray | Callable[[slice], np.ndarray]) -> np.ndarray:
        """Return the sum of each run's values, (S,) or by place: float64, in a fixed order."""
        at = values if callable(values) else values.__getitem__
        total = np.zeros(len(self.step))
        for piece in self.pieces():
            starts = np.cumsum(piece.sizes) - piece.sizes
            total[piece.runs] += np.add.reduceat(at(piece.places), starts, dtype=np.float64)
        return total

    def stretches(self, groups: np.ndarray) -> Iterator[Stretch]:
        """Yield where the runs lie, `groups` being the group of each, int64."""
        for piece in self.pieces():
            yield Stretch(piece.places, np.cumsum(piece.sizes) - piece.sizes, groups[piece.runs])

    def pieces(self) -> Iterator[Piece]:
        """Yield the plan in pieces that fit in the cache; a run may be cut."""
        size = int(self.sizes.sum())
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            first, last = np.searchsorted(self._starts, [start + 1, stop])
            edges = np.concatenate([[start], self._starts[first:last], [stop]])
            yield Piece(slice(start, stop), slice(first - 1, last), np.diff(edges))
