"""The multiplier and the whole numbers behind unequal chances, over all samples."""

import math

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


def fixed_point(probabilities: Array, over: Population) -> tuple[Array, int, int]:
    """Return p in integer units of 2**-bits, a nearly whole sum made whole; bits; its sum here.

    Overwrites p.
    """
    total = over.plus(float(probabilities.sum()))
    bits = 61 - math.ceil(total + 1.0).bit_length()  # so that Σp + 1 stays below 2**63
    one = 1 << bits
    units = probabilities.view(np.int64)  # in the same memory, piece by piece
    for start in range(0, len(units), _CHUNK):
        part = probabilities[start : start + _CHUNK] * float(one)
        units[start : start + _CHUNK] = np.rint(part, out=part)
    here = int(units.sum())
    surplus = int(over.added(np.array([here]))[0]) - round(total) * one
    if surplus and abs(total - round(total)) <= 1e-9 + 1e-14 * total:
        place = _adjustable(units, one, abs(surplus))
        is_able = int(place is not None)
        if over.before(is_able) == 0 and place is not None:
            units[place] -= surplus
            here -= surplus
    return units, bits, here


def _adjustable(units: Array, one: int, surplus: int) -> int | None:
    """Return the place of a p that so much changes by no more than 10⁻⁴ of itself or of 1 - p."""
    # Nearly always one of the first will do; a p near 1/2 bears most.
    for start in range(0, len(units) if surplus <= 1e-4 * (one // 2) else 0, _CHUNK):
        part = units[start : start + _CHUNK]
        middle = int(np.abs(part - one // 2).argmin())
        value = int(part[middle])
        if surplus <= 1e-4 * min(value, one - value):
            return start + middle
    return None
