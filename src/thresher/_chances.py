"""The multiplier and the whole numbers behind unequal chances, over all samples."""

import math
from collections.abc import Iterator
from typing import final

import numpy as np

from thresher._arrays import Array
from thresher.population import Population

# Pieces that fit in the cache: a pass is then one walk over the memory, and no temporaries of it.
_CHUNK = 1 << 15


def _places(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))


def scaled(importance: Array, factor: float) -> tuple[Array, Array]:
    """Return the importances times a factor, float64; and which of them are not next to nothing."""
    result, large = np.empty(importance.size), np.empty(importance.size, dtype=np.bool_)
    for place in _places(importance.size):
        np.multiply(importance[place], factor, out=result[place], dtype=np.float64)
        np.greater(result[place], 2.0**-970, out=large[place])
    return result, large


def capped(importance: Array, c: float) -> Array:
    """Return min(a/c, 1); overwrites the importances."""
    for place in _places(importance.size):
        part = np.minimum(importance[place], c, out=importance[place])
        part /= c
    return importance


def multiplier(importance: Array, budget: float, over: Population) -> float:
    """Return the c of p = min(a/c, 1), Σp = budget; more than `budget` of the a are positive."""
    num_capped, uncapped = 0, float(importance.sum())
    while True:
        c = over.plus(uncapped) / (budget - num_capped)
        here, uncapped = _beyond(importance, c)
        now = int(over.added(np.array([here]))[0])
        # By exact arithmetic fewer than b exceed c; more do only if all others equal c, rounded.
        if now <= num_capped or now >= budget:
            return c
        num_capped = now


def _beyond(importance: Array, c: float) -> tuple[int, float]:
    """Return how many importances are above c, and the sum of the others."""
    count, sums, spare = importance.size, list[float](), np.empty(_CHUNK)
    for place in _places(importance.size):
        part = importance[place]
        others = part <= c
        count -= int(np.count_nonzero(others))
        # A quarter of the time that leaving the others out takes.
        sums.append(float(np.multiply(part, others, out=spare[: part.size]).sum()))
    return count, math.fsum(sums)


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
        self.here = sum(int(units.sum()) for _, units in self._units(None))
        surplus = int(over.added(np.array([self.here]))[0]) - (round(total) << self.bits)
        if surplus and abs(total - round(total)) <= 1e-9 + 1e-14 * total:
            place = self._adjustable(abs(surplus))
            is_able = int(place is not None)
            if over.before(is_able) == 0 and place is not None:
                self._place, self._surplus = place, surplus
                self.here -= surplus

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield places that fit in the cache, and their units: int64, to be overwritten."""
        for place, units in self._units(self._order):
            if place.start <= self._place < place.stop:
                units[self._place - place.start] -= self._surplus
            yield place, units

    def _units(self, order: Array | None) -> Iterator[tuple[slice, Array]]:
        one = float(1 << self.bits)
        for place in _places(len(self._p)):
            p = self._p[place] if order is None else self._p.take(order[place])
            units = np.multiply(p, one)
            yield place, np.rint(units, out=units).astype(np.int64)

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
