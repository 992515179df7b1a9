"""Groups of values on a line that lie closest to their means: k-means in one dimension, no seed."""

from __future__ import annotations

import numpy as np

from thresher._arrays import Array
from thresher._order import compressed

# A search is among about this many places to cut: its matrix of 2 MB stays in the cache.
_PLACES = 512
# A round quarters distances: 10 lead from places among 10⁸ values to neighbours. More are taken by
# small steps of many groups, of little use.
_ROUNDS = 40
# Sums up to any position are a running sum of blocks and a part of one.
_BLOCK = 1 << 6


def boundaries(values: Array, num_groups: int, among: Array | None = None) -> Array:
    """Return the values at which the groups begin that minimise Σ (x − mean of its group)².

    Groups are stretches of the sorted values, and equal values share one. With up to 512 distinct
    values, dynamic programming finds the optimum. With more, it finds the best of 512 places to
    cut (equal counts apart, equal distances apart, and ever closer to both ends), then the best of
    512 places around these cuts, closer each time, until no choice among the neighbouring values
    is better, or after 40 rounds: the optimum near the best coarse one.

    Args:
        values: finite, float32 or float64, shape `(num,)`, in any order.
        num_groups: k, from 1 to 512; fewer groups come of fewer distinct values.
        among: which values count, bool, shape `(num,)`; others need not be finite. None means all.

    Returns:
        Shape `(groups − 1,)`, ascending, the values' dtype: the smallest of each group but the
        first. No group is empty, and the order of the values does not matter.

    Cost: about 30 ms for 10⁵ values in 5 or 10 groups, 50 for 10⁶, 200 for 10⁷; one copy of them.

    Example:
        >>> boundaries(np.array([9.0, 1.0, 1.2, 8.8, 0.9, 5.0]), 3).tolist()
        [5.0, 8.8]
    """
    counted = values.copy() if among is None else compressed(values, among)
    if not len(counted):
        return counted
    line = _Line(counted)
    places, is_all = line.places()
    cuts, gain = line.best(places, num_groups)
    for _ in range(_ROUNDS):
        if is_all:
            break
        places, is_all = line.closer(places, cuts)
        found, more = line.best(places, num_groups)
        if more > gain:
            # At the edge of what was searched, a cut may want to go on.
            cuts, gain, is_all = found, more, False
    return line.values[cuts[1:-1]]


class _Line:
    """Values, sorted in place, and where to cut them."""

    def __init__(self, values: Array) -> None:
        values.sort()
        self.values = values
        starts = np.arange(0, len(values), _BLOCK)
        sums = np.add.reduceat(self.values, starts, dtype=np.float64)
        self._sums = np.concatenate([[0.0], np.cumsum(sums)])
        self._mean = self._sums[-1] / len(values)
        self._is_new = np.ones(len(values), dtype=np.bool_)
        np.not_equal(self.values[1:], self.values[:-1], out=self._is_new[1:])

    def places(self) -> tuple[Array, bool]:
        """Return positions to cut at, with both ends, and whether these are all there are."""
        size, values = len(self.values), self.values
        if np.count_nonzero(self._is_new) <= _PLACES:
            return np.append(np.flatnonzero(self._is_new), size), True
        num = _PLACES // 2 - 2 * size.bit_length()
        by_count = np.arange(1, num) * size // num
        steps = np.arange(1, num, dtype=np.float64) / num
        by_distance = float(values[0]) * (1 - steps) + float(values[-1]) * steps
        by_distance = np.searchsorted(values, by_distance.astype(values.dtype))
        to_ends = 1 << np.arange(size.bit_length() - 1)
        return self._apart(np.concatenate([by_count, by_distance, to_ends, size - to_ends])), False

    def closer(self, places: Array, cuts: Array) -> tuple[Array, bool]:
        """Return places about the cuts, four times as close, and whether these are all there are.

        All, that is, from some places before each cut to some places after it.
        """
        each = max(8, _PLACES // max(1, len(cuts) - 2))
        found, is_all = [cuts], True
        for at in np.searchsorted(places, cuts[1:-1]):
            low, high = places[max(at - each // 8, 0)], places[min(at + each // 8, len(places) - 1)]
            wide = slice(max(low - (high - low), 0), high + (high - low))
            for part in (wide, slice(low, high + 1)):
                is_new = self._is_new[part]
                if np.count_nonzero(is_new) <= each:
                    found.append(part.start + np.flatnonzero(is_new))
                    break
            else:
                found.append(low + (high - low) * np.arange(each + 1) // each)
                is_all = False
        return self._apart(np.concatenate(found)), is_all

    def best(self, places: Array, num_groups: int) -> tuple[Array, float]:
        """Return the positions among `places` that cut best, with both ends, and how well.

        Σ (x − mean of its group)² is least where Σ (sum of a group)² / (its size) is largest.
        """
        total = self._sums_before(places)
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.square(total[:, None] - total) / (places[:, None] - places)
        # gains[stop, start]: of the group from start to stop.
        gains[np.triu_indices(len(places))] = -np.inf
        best, came_from = gains[:, 0], list[Array]()
        for _ in range(min(num_groups, len(places) - 1) - 1):
            sums = gains + best
            came_from.append(sums.argmax(1))
            best = sums.max(1)
        chosen = [len(places) - 1]
        for before in reversed(came_from):
            chosen.append(int(before[chosen[-1]]))
        return places[[0, *reversed(chosen)]], float(best[-1])

    def _sums_before(self, places: Array) -> Array:
        """Return Σ (x − mean of all) over the values before each place: float64."""
        blocks = places // _BLOCK
        at = blocks[:, None] * _BLOCK + np.arange(_BLOCK)
        part = self.values.take(at, mode="clip")
        part[at >= places[:, None]] = 0
        return self._sums[blocks] + part.sum(1, dtype=np.float64) - self._mean * places

    def _apart(self, positions: Array) -> Array:
        """Return the positions, ascending, moved to where their values begin; with both ends."""
        begins = np.searchsorted(self.values, self.values[positions[positions < len(self.values)]])
        return np.unique(np.concatenate([[0], begins, [len(self.values)]]))
