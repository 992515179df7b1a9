"""The k-th smallest of values that many ranks hold: a radix select, exact, by a few histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from thresher._arrays import Array
from thresher._order import from_ordinals, ordinals

Added = Callable[[Array], Array]
"""Returns the sum over ranks of a vector of whole numbers."""

# 2¹¹ counts are 16 kB, and 32 bits take 3 rounds of them. Rounds of 16 bits would be fewer, and
# send 20 times as much.
_DIGIT = 11
_CHUNK = 1 << 15


def kth(values: Array, among: Array | None, k: int, added: Added) -> float:
    """Return the value that k others of all ranks come before when they are sorted.

    Values become whole numbers in the same order, of which each round finds the next 11 bits: the
    ranks add up how many of theirs, of those that begin with the bits found so far, go on with
    which.

    Args:
        values: integers or floats, none of them NaN, of one dtype on all ranks; −0.0 equals 0.0.
        among: which of them count, bool; None means all.
        k: from 0 to their number on all ranks, less 1.
        added: adds up histograms.

    Cost: 16 kB a round; 3 rounds for 32 bits, 6 for 64. Two passes over the values here.

    Example:
        >>> kth(np.array([0.5, -2.0, np.inf, 0.25]), None, 2, added=lambda counts: counts)
        np.float64(0.5)
    """
    bits = 8 * values.dtype.itemsize
    found = _selected(lambda: _pieces(values, among), bits, k, added) - (1 << bits - 1)
    return from_ordinals(np.array([found]), values.dtype)[0]


def kth_id(ids: Array, bits: int, k: int, added: Added) -> int:
    """Return the id, below 2**bits, that k others of all ranks come before: as `kth`."""
    return _selected(lambda: iter([ids.astype(np.uint64)]), bits, k, added)


def _selected(keys: Callable[[], Iterator[Array]], bits: int, k: int, added: Added) -> int:
    """Return the k-th smallest of whole numbers below 2**bits, that come in pieces, uint64."""
    found = 0
    while bits:
        width = min(_DIGIT, bits)
        bits -= width
        counts = np.zeros(1 << width, dtype=np.int64)
        shift, low = np.uint64(bits), np.uint64((1 << width) - 1)
        for piece in keys():
            digits = (piece >> shift) & low
            counts += np.bincount(digits.astype(np.int64), minlength=1 << width)
        ends = np.cumsum(added(counts))
        digit = int(np.searchsorted(ends, k, side="right"))
        k -= int(ends[digit - 1]) if digit else 0
        found = found << width | digit
        begin = np.uint64(found)
        rest = [piece[piece >> shift == begin] for piece in keys()]
        left = np.concatenate([np.empty(0, dtype=np.uint64), *rest])
        keys = _again(left)
    return found


def _again(left: Array) -> Callable[[], Iterator[Array]]:
    return lambda: (left[start : start + _CHUNK] for start in range(0, len(left), _CHUNK))


def _pieces(values: Array, among: Array | None) -> Iterator[Array]:
    """Yield the values, in pieces that fit in the cache, as whole numbers in their order."""
    lowest = np.int64(-(1 << 8 * values.dtype.itemsize - 1))
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        if among is not None:
            part = part.compress(among[start : start + _CHUNK])
        yield (ordinals(part) - lowest).view(np.uint64)  # beyond 2**63 by overflow, which is right
