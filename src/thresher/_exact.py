"""Sums that depend on their terms alone: on no order, no split into parts, no number of threads.

A float64 sum is exact while all terms are multiples of one unit and no partial sum has more than
2⁵³ of them. So terms are cut into levels of some 38 bits, each level is summed by numpy, and the
sums of the levels are added as whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, final

import numpy as np

from thresher._arrays import Array

# As many terms of 37 bits as a level can hold, and a piece that fits in the cache.
_CHUNK = 1 << 15
_WIDTH = 37

# The least float64 is one unit of a total.
_UNIT = 1074
_LIMB = 32
NUM_WORDS = 71
"""Of a total, as whole numbers that can be added: 69 limbs, +∞, −∞."""


@final
class Total(NamedTuple):
    """An exact sum.

    Args:
        units: of the finite terms, in units of 2⁻¹⁰⁷⁴.
        above: how many parts have a term that is +∞ or NaN.
        below: how many parts have a term that is −∞ or NaN.
    """

    units: int
    above: int = 0
    below: int = 0

    def over(self, count: int = 1) -> float:
        """Return the sum divided by `count`, rounded once."""
        if self.above or self.below:
            return math.nan if self.above and self.below else math.inf if self.above else -math.inf
        try:
            return self.units / (count << _UNIT)
        except OverflowError:
            return math.inf if self.units > 0 else -math.inf

    def words(self) -> Array:
        """Return it as int64, shape (71,); the words of several totals add up to their sum."""
        limbs = np.frombuffer(abs(self.units).to_bytes((NUM_WORDS - 2) * 4, "little"), "<u4")
        signed = limbs.astype(np.int64) * (1 if self.units >= 0 else -1)
        return np.append(signed, [self.above, self.below])

    @classmethod
    def of_words(cls, words: Array) -> Total:
        """Return the total of added words."""
        *limbs, above, below = words.tolist()
        return cls(sum(limb << _LIMB * k for k, limb in enumerate(limbs)), above, below)


def total(values: Array, where: Array | None = None) -> Total:
    """Return Σ values (`where` true), exactly; values are integers, float32 or float64.

    Cost: 2.4 ms per 10⁶, with terms over a range of more than 10⁴ (float32: 10¹⁰) up to twice that.
    """
    if values.dtype.kind not in "f":
        mask = True if where is None else where
        return Total(int(np.sum(values, dtype=np.int64, where=mask)) << _UNIT)
    units = above = below = 0
    held, spare = np.empty((2, _CHUNK))
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        chosen = None if where is None else where[start : start + _CHUNK]
        rest = held[: len(part)]
        if chosen is None or chosen.all():
            rest[:] = part
        else:
            rest[:] = np.where(chosen, part, part.dtype.type(0))
        top = _largest(rest)
        if not math.isfinite(top):
            above |= bool((np.isnan(rest) | (rest == np.inf)).any())
            below |= bool((np.isnan(rest) | (rest == -np.inf)).any())
            rest[~np.isfinite(rest)] = 0
            top = _largest(rest)
        units += _units(rest, top, spare[: len(part)])
    return Total(units, int(above), int(below))


def _largest(values: Array) -> float:
    """Return the largest absolute value; NaN or infinite if a value is."""
    high, low = float(values.max()), float(values.min())
    return high if math.isnan(high) else max(high, -low)


def _units(rest: Array, top: float, spare: Array) -> int:
    """Return Σ of at most 2¹⁵ terms up to `top` in units of 2⁻¹⁰⁷⁴; overwrites both arrays."""
    if not top:
        return 0
    units, exponent = 0, math.frexp(top)[1]
    if exponent > 1000:  # where adding `carry` would overflow
        large = np.where(np.abs(rest) >= 2.0**900, rest, 0.0)
        rest -= large
        units = _units(large * 2.0**-100, top * 2.0**-100, spare) << 100
        exponent = 900
    while rest.max() or rest.min():
        exponent -= _WIDTH
        _cut(rest, exponent, spare)
        numerator, denominator = float(spare.sum()).as_integer_ratio()
        units += numerator << _UNIT + 1 - denominator.bit_length()
    return units


def _cut(rest: Array, unit: int, level: Array) -> None:
    """Move the multiple of 2**unit nearest to each of `rest` from there to `level`."""
    carry = math.ldexp(1.5, unit + 52)
    np.add(rest, carry, out=level)
    level -= carry
    rest -= level


def exponent_of(values: Array) -> int:
    """Return an e such that all finite values are below 2**e; the least of all if none is not 0."""
    top = 0.0
    for start in range(0, len(values), _CHUNK):
        part = np.abs(values[start : start + _CHUNK])
        most = float(part.max())
        if not math.isfinite(most):
            most = float(np.max(part, where=np.isfinite(part), initial=0.0))
        top = max(top, most)
    return math.frexp(top)[1] if top else -_UNIT


def width_for(num_terms: int) -> int:
    """Return how many bits a level may have, so that so many terms of it add up in an int64."""
    return min(_WIDTH, 62 - num_terms.bit_length())


class Stretch(NamedTuple):
    """Neighbouring terms: their `places`, where groups begin among them, and which `groups`."""

    places: slice
    starts: Array
    groups: Array


def levels(
    values: Array, stretches: Iterable[Stretch], num_groups: int, exponent: int, width: int
) -> list[Array]:
    """Return the exact sum of each group, cut into levels: int64, shape (groups,) each.

    Args:
        values: finite, below 2**exponent.
        stretches: of at most 2¹⁵ terms each.
        num_groups: groups are numbered from 0.
        exponent: the first level counts in units of 2**(exponent - width), the next in units of
            2**(exponent - 2 width), and so on, until nothing is left.
        width: bits of a level, from `width_for`.
    """
    sums = list[Array]()
    for places, starts, groups in stretches:
        rest = values[places].astype(np.float64)
        cut, unit = np.empty_like(rest), exponent
        for level in range(2 * _UNIT):
            if not rest.any():
                break
            unit -= width
            _cut(rest, unit, cut)
            if level == len(sums):
                sums.append(np.zeros(num_groups, dtype=np.int64))
            whole = np.ldexp(np.add.reduceat(cut, starts), -unit)
            np.add.at(sums[level], groups, whole.astype(np.int64))
    return sums


def joined(sums: Iterable[Array], exponent: int, width: int, num_groups: int) -> Array:
    """Return what `levels` cut, as one float64 for each group."""
    result = np.zeros(num_groups)
    for level, units in enumerate(sums):
        result += np.ldexp(units.astype(np.float64), exponent - width * (level + 1))
    return result
