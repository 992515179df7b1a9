"""Groups of values on a line that lie closest to their means: k-means in one dimension, no seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thresher import _exact
from thresher._arrays import Array
from thresher._order import compressed, from_ordinals, ordinals
from thresher.population import EVERYONE, Population, Stretch

# A search is among about this many places to cut: its matrix of 2 MB stays in the cache.
_PLACES = 512
# The first places are found among so many, equal numbers of neighbouring floats apart.
_GRID = 2048
# A round quarters distances: 10 lead from the first places to neighbours. More are taken by small
# steps of many groups, of little use.
_ROUNDS = 40
# Sums up to any position are a running sum of blocks and a part of one.
_BLOCK = 1 << 6
_CHUNK = 1 << 15
_NOBODY = np.iinfo(np.int64).min


def boundaries(
    values: Array, num_groups: int, among: Array | None = None, over: Population = EVERYONE
) -> Array:
    """Return the values at which the groups begin that minimise Σ (x − mean of its group)².

    Groups are stretches of the sorted values, and equal values share one. With up to 512 distinct
    values, dynamic programming finds the optimum. With more, it finds the best of 512 places to
    cut (about equal counts apart, equal distances apart, and ever closer to both ends), then the
    best of 512 places around these cuts, closer each time, until no choice among the neighbouring
    values is better, or after 40 rounds: the optimum near the best coarse one.

    Args:
        values: finite, float32 or float64, shape `(num,)`, in any order.
        num_groups: k, from 1 to 512; fewer groups come of fewer distinct values.
        among: which values count, bool, shape `(num,)`; others need not be finite. None means all.
        over: the samples whose values are grouped, those here and those of other shards.

    Returns:
        Shape `(groups − 1,)`, ascending, the values' dtype: the smallest of each group but the
        first. No group is empty, and neither the order of the values nor the number of shards
        matters: places are values, of which it is counted exactly how many are below, and added up
        exactly which.

    Cost: about 30 ms for 10⁵ values in 5 or 10 groups, 50 for 10⁶, 200 for 10⁷; one copy of them.
        Shards tell each other 100 kB, and about 20 kB a round, whatever the number of values.

    Example:
        >>> boundaries(np.array([9.0, 1.0, 1.2, 8.8, 0.9, 5.0]), 3).tolist()
        [5.0, 8.8]
    """
    counted = values.copy() if among is None else compressed(values, among)
    if not over.size(counted):
        return counted
    line = _Line(counted, over)
    places, is_all = line.places()
    cuts, gain = _best(places, num_groups)
    for _ in range(_ROUNDS):
        if is_all:
            break
        places, is_all = line.closer(places, cuts)
        found, more = _best(places, num_groups)
        if more > gain:
            # At the edge of what was searched, a cut may want to go on.
            cuts, gain, is_all = found, more, False
    return line.first_from(places.numbers[np.searchsorted(places.counts, cuts)])


class _Places(NamedTuple):
    """Places to cut, ascending, with both ends: below a value, given as its ordinal.

    Args:
        numbers: the ordinals, int64.
        counts: how many values are below, int64, ascending.
        sums: Σ (x − mean of all) of these, float64.
    """

    numbers: Array
    counts: Array
    sums: Array

    def at(self, which: Array) -> _Places:
        """Return some of the places."""
        return _Places(self.numbers[which], self.counts[which], self.sums[which])


class _Line:
    """Values, sorted in place, and where to cut them."""

    def __init__(self, values: Array, over: Population) -> None:
        values += 0  # makes -0.0 the 0.0 it equals
        values.sort()
        self.values, self._over = values, over
        self._is_new = np.ones(len(values), dtype=np.bool_)
        np.not_equal(values[1:], values[:-1], out=self._is_new[1:])
        self._num = over.size(values)
        self._low, self._high = self._ends()
        self._exponent, self._width, _ = over.scale_of(values)
        num_blocks = -(-len(values) // _BLOCK)
        blocks = self._levels(values, num_blocks)
        num_levels = int(over.largest(np.array([len(blocks)]))[0])
        self._sums = np.zeros((num_levels, num_blocks + 1), dtype=np.int64)
        for sums, of_blocks in zip(self._sums, blocks, strict=False):
            np.cumsum(of_blocks, out=sums[1:])
        self._mean = float(self._joined(over.added(self._sums[:, -1:]))[0]) / self._num

    def _ends(self) -> tuple[int, int]:
        """Return the smallest ordinal of all, and the largest."""
        ends = np.full(2, _NOBODY)
        if len(self.values):
            ends = ordinals(self.values[[0, -1]]) * [-1, 1]
        low, high = self._over.largest(ends).tolist()
        return -low, high

    def _levels(self, values: Array, num_blocks: int) -> list[Array]:
        """Return the exact sum of each block of values."""
        stretches = (
            Stretch(
                slice(start, start + _CHUNK),
                np.arange(0, min(_CHUNK, len(values) - start), _BLOCK),
                np.arange(start // _BLOCK, min((start + _CHUNK) // _BLOCK, num_blocks)),
            )
            for start in range(0, len(values), _CHUNK)
        )
        return _exact.levels(values, stretches, num_blocks, self._exponent, self._width)

    def _joined(self, levels: Array) -> Array:
        return _exact.joined(levels, self._exponent, self._width, levels.shape[1])

    def places(self) -> tuple[_Places, bool]:
        """Return places to cut at, and whether these are all there are."""
        alone = self._distinct([slice(0, len(self.values))], _PLACES)[0]
        if alone is not None and len(alone) <= _PLACES:
            return self._tallied([alone]), True
        ends = from_ordinals(np.array([self._low, self._high]), self.values.dtype).astype(float)
        num = _PLACES // 2 - 2 * self._num.bit_length()
        steps = np.arange(1, num, dtype=np.float64) / num
        by_distance = (ends[0] * (1 - steps) + ends[1] * steps).astype(self.values.dtype)
        by_distance = ordinals(by_distance)
        places = self._tallied([_spaced(self._low, self._high, _GRID), by_distance])
        by_count = np.arange(1, num) * self._num // num
        to_ends = 1 << np.arange(self._num.bit_length() - 1)
        counts = np.concatenate([by_count, to_ends, self._num - to_ends])
        which = np.searchsorted(places.counts, counts)
        which = np.concatenate([which, np.searchsorted(places.numbers, by_distance)])
        last = len(places.numbers) - 1
        return places.at(np.unique(np.concatenate([[0, last], which.clip(0, last)]))), False

    def closer(self, places: _Places, cuts: Array) -> tuple[_Places, bool]:
        """Return places about the cuts, four times as close, and whether these are all there are.

        All, that is, from some places before each cut to some places after it.
        """
        each, last = max(8, _PLACES // max(1, len(cuts))), len(places.numbers) - 1
        at = np.searchsorted(places.counts, cuts)
        # Where values are far apart, many places came to lie between the same two, as one.
        near = max(1, min(each, last // max(1, len(cuts))) // 8)
        ranges = [
            places.numbers[[(at - far).clip(0, last), (at + far).clip(0, last)]].T
            for far in (2 * near, near)
        ]
        inside = np.concatenate(ranges)
        here = np.searchsorted(self.values, from_ordinals(inside, self.values.dtype))
        known = self._distinct([slice(start, stop) for start, stop in here.tolist()], each)
        found, is_all = [places.numbers[at]], True
        for k, (low, high) in enumerate(ranges[1].tolist()):
            fits = [some for some in (known[k], known[len(at) + k]) if some is not None]
            fits = [some for some in fits if len(some) <= each]
            if fits:
                found.append(fits[0])
            else:
                found.append(_spaced(low, high, each))
                is_all = is_all and high - low <= each
        return self._tallied(found), is_all

    def _distinct(self, parts: list[slice], most: int) -> list[Array | None]:
        """Return the distinct values, on all shards, of each stretch of the sorted values.

        As ordinals; None where a shard has more than so many.
        """
        counts = np.array([np.count_nonzero(self._is_new[part]) for part in parts])
        is_few = self._over.largest(counts) <= most
        told = np.full((int(is_few.sum()), most), _NOBODY)
        few = [part for part, fits in zip(parts, is_few, strict=True) if fits]
        for row, part in zip(told, few, strict=True):
            values = self.values[part][self._is_new[part]]
            row[: len(values)] = ordinals(values)
        if not few:
            return [None] * len(parts)
        every = iter(self._over.gathered(told).swapaxes(0, 1))
        return [_known(next(every)) if fits else None for fits in is_few]

    def _tallied(self, found: list[Array]) -> _Places:
        """Return these places, given as ordinals, and both ends; of equal ones the first."""
        numbers = np.unique(np.concatenate([[self._low, self._high + 1], *found]))
        below = np.searchsorted(self.values, from_ordinals(numbers, self.values.dtype))
        counts, *levels = self._over.added(np.stack([below, *self._sums_before(below)]))
        sums = self._joined(np.stack(levels)) if levels else np.zeros(len(numbers))
        places = _Places(numbers, counts, sums - self._mean * counts)
        return places.at(np.unique(counts, return_index=True)[1])

    def _sums_before(self, positions: Array) -> Array:
        """Return Σ over the values here before each position, in levels: int64."""
        blocks = positions // _BLOCK
        result = self._sums[:, blocks]
        if len(self.values):
            at = blocks[:, None] * _BLOCK + np.arange(_BLOCK)
            part = self.values.take(at, mode="clip")
            part[at >= positions[:, None]] = 0
            for sums, more in zip(result, self._levels(part.ravel(), len(part)), strict=False):
                sums += more
        return result

    def first_from(self, numbers: Array) -> Array:
        """Return the smallest value of all from each of some ordinals on."""
        positions = np.searchsorted(self.values, from_ordinals(numbers, self.values.dtype))
        nearest = np.full(len(numbers), _NOBODY)
        is_here = positions < len(self.values)
        nearest[is_here] = -ordinals(self.values[positions[is_here]])
        return from_ordinals(-self._over.largest(nearest), self.values.dtype)


def _spaced(low: int, high: int, num: int) -> Array:
    """Return whole numbers from `low` to `high`, equally far apart; these may be 2**64 apart."""
    return np.unique([low + (high - low) * k // num for k in range(num + 1)]).astype(np.int64)


def _known(rows: Array) -> Array:
    values = np.unique(rows)
    return values[values > _NOBODY]


def _best(places: _Places, num_groups: int) -> tuple[Array, float]:
    """Return the counts below the places that cut best, and how well they do.

    Σ (x − mean of its group)² is least where Σ (sum of a group)² / (its size) is largest.
    """
    counts, sums = places.counts, places.sums
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = np.square(sums[:, None] - sums) / (counts[:, None] - counts)
    # gains[stop, start]: of the group from start to stop.
    gains[np.triu_indices(len(counts))] = -np.inf
    best, came_from = gains[:, 0], list[Array]()
    for _ in range(min(num_groups, len(counts) - 1) - 1):
        tried = gains + best
        came_from.append(tried.argmax(1))
        best = tried.max(1)
    chosen = [len(counts) - 1]
    for before in reversed(came_from):
        chosen.append(int(before[chosen[-1]]))
    return counts[chosen[:0:-1]], float(best[-1])
