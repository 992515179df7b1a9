"""The multiplier and the whole numbers behind unequal chances, over all samples."""

import math
from collections.abc import Iterator
from typing import final

import numpy as np

from thresher._arrays import Array
from thresher._order import compressed
from thresher.population import Population

_CHUNK = 1 << 15


def multiplier(importance: Array, budget: float, over: Population) -> float:
    """Return the c of p = min(a/c, 1), Σp = budget; more than `budget` of the a are positive."""
    uncapped, remaining = importance, budget
    while True:
        c = over.plus(float(uncapped.sum())) / remaining
        exceeds = uncapped > c
        here = int(np.count_nonzero(exceeds))
        num_new = int(over.added(np.array([here]))[0])
        # By exact arithmetic fewer than `remaining` exceed c; more do only if all equal c, rounded.
        if num_new == 0 or num_new >= remaining:
            return c
        remaining -= num_new
        if uncapped is importance or 8 * here > uncapped.size:
            uncapped = compressed(uncapped, np.logical_not(exceeds, out=exceeds))
        else:
            np.copyto(uncapped, 0.0, where=exceeds)  # ten times faster than leaving them out


@final
class FixedPoint:
    """p in whole units of 2**-bits, in some order, a nearly whole sum made whole.

    Args:
        probabilities: p in [0, 1], float64.
        order: of the samples, int64; None: as they lie.
        over: the samples that the sum is over, those here and those of other shards.

    Attributes:
        bits: of a unit.
        here: the sum of the p here, in units.
    """

    def __init__(self, probabilities: Array, order: Array | None, over: Population) -> None:
        self._p, self._order = probabilities, order
        total = over.plus(float(probabilities.sum()))
        self.bits = 61 - math.ceil(total + 1.0).bit_length()  # so that Σp + 1 stays below 2**63
        self._place, self._surplus = -1, 0
        self.here = sum(int(units.sum()) for _, units in self.pieces())
        surplus = int(over.added(np.array([self.here]))[0]) - (round(total) << self.bits)
        if surplus and abs(total - round(total)) <= 1e-9 + 1e-14 * total:
            place = self._adjustable(abs(surplus))
            is_able = int(place is not None)
            if over.before(is_able) == 0 and place is not None:
                self._place, self._surplus = place, surplus
                self.here -= surplus

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield places that fit in the cache, and their units: int64, to be overwritten."""
        one = float(1 << self.bits)
        for start in range(0, len(self._p), _CHUNK):
            place = slice(start, start + _CHUNK)
            p = self._p[place] if self._order is None else self._p.take(self._order[place])
            units = np.multiply(p, one)
            units = np.rint(units, out=units).astype(np.int64)
            if start <= self._place < start + _CHUNK:
                units[self._place - start] -= self._surplus
            yield place, units

    def _adjustable(self, surplus: int) -> int | None:
        """Return a place whose p so much changes by no more than 10⁻⁴ of itself or of 1 - p."""
        one = 1 << self.bits
        if surplus > 1e-4 * (one // 2):
            return None
        # Nearly always one of the first will do; a p near 1/2 bears most.
        for place, units in self.pieces():
            middle = int(np.abs(units - one // 2).argmin())
            value = int(units[middle])
            if surplus <= 1e-4 * min(value, one - value):
                return place.start + middle
        return None
