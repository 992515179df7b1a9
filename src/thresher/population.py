"""What "over all samples" means: reductions, whether all samples are here or a part of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import final

import numpy as np

from thresher import _exact
from thresher._arrays import Array
from thresher._exact import Stretch, Total
from thresher._order import from_ordinals, kth, ordinals
from thresher.shard import Shard

__all__ = ["EVERYONE", "Everyone", "Population", "Stretch"]

# Beyond 2**900 a first level would overflow; scaling by 2**-200 loses nothing that counts.
_LARGE, _SCALE = 900, 200


class Population(ABC):
    """All samples, of which the rows of one shard are here: what a reduction is over.

    Every shard calls the same reductions in the same order, and all get the same answer. Sums do
    not depend on how samples are split into shards, so a threshold is the same for one process
    that has all samples and for many that share them.

    Example:
        >>> EVERYONE.sum(np.array([0.1] * 10)), EVERYONE.count(np.array([True, False]))
        (1.0, 1)
    """

    shard: Shard = Shard()
    """Which samples are here."""

    @property
    def stream(self) -> int | None:
        """Whose random numbers the rows here get; None if there is one shard."""
        return None if self.shard.count == 1 else self.shard.index

    @abstractmethod
    def added(self, numbers: Array) -> Array:
        """Return the sum over shards of a vector of whole numbers: int64."""

    @abstractmethod
    def largest(self, numbers: Array) -> Array:
        """Return the element-wise largest over shards of a vector of whole numbers: int64."""

    @abstractmethod
    def gathered(self, numbers: Array) -> Array:
        """Return the whole numbers of each shard, equally many, in their order: int64, (W, k)."""

    @abstractmethod
    def kth(self, values: Array, among: Array | None, k: int) -> float:
        """Return the value that k others, `among` some or all, come before when they are sorted.

        None of them is NaN; k is from 0 to their number less 1.
        """

    @abstractmethod
    def first(self, among: Array, count: int) -> Array:
        """Return the mask of the `count` members of `among` with the smallest ids."""

    def smallest(
        self,
        keys: Array,
        count: int,
        among: Array,
        num: int,
        ties: Callable[[], Array] | None = None,
    ) -> Array:
        """Return the mask of the `count` of the `num` members of `among` with the smallest keys.

        Equal keys are told apart by what `ties` returns, asked only then, or else by id.
        """
        if count in (0, num):
            return among.copy() if count else np.zeros_like(among)
        threshold = self.kth(keys, among, count - 1)
        kept, tied = keys < threshold, keys == threshold
        kept &= among
        tied &= among
        missing, num_tied = count - self.count(kept), self.count(tied)
        if missing == num_tied:
            found = tied
        elif ties is None:
            found = self.first(tied, missing)
        else:
            found = self.smallest(ties(), missing, tied, num_tied)
        return np.logical_or(kept, found, out=kept)

    def size(self, values: Array) -> int:
        """Return how many values there are on all shards."""
        return int(self.added(np.array([len(values)]))[0])

    def count(self, where: Array) -> int:
        """Return how often `where` is true."""
        return int(self.added(np.array([np.count_nonzero(where)]))[0])

    def each(self, number: int) -> list[int]:
        """Return a whole number of each shard, in their order."""
        return self.gathered(np.array([number]))[:, 0].tolist()

    def before(self, number: int) -> int:
        """Return the sum of a number over the shards that come before this one."""
        return sum(self.each(number)[: self.shard.index])

    def total(self, values: Array, where: Array | None = None) -> Total:
        """Return Σ values (`where` true), exactly."""
        return Total.of_words(self.added(_exact.total(values, where).words()))

    def sum(self, values: Array, where: Array | None = None) -> float:
        """Return Σ values (`where` true), rounded once to float64."""
        return self.total(values, where).over()

    def mean(self, values: Array, where: Array | None = None) -> float:
        """Return the mean of values (`where` true), rounded once to float64; NaN of none."""
        count = self.size(values) if where is None else self.count(where)
        return self.total(values, where).over(count) if count else float("nan")

    def plus(self, number: float) -> float:
        """Return the sum over shards of one number of each, such as a sum that it has made."""
        return self.sum(np.array([number]))

    def extremes(self, values: Array) -> tuple[float, float]:
        """Return the smallest and the largest value; NaN, NaN if there is none or one is NaN."""
        ends = np.array([-np.inf, -np.inf, 0.0])
        if len(values):
            low, high = float(values.min()), float(values.max())
            ends[:] = (0.0, 0.0, 1.0) if np.isnan(low) else (-low, high, 0.0)
        most = self.largest(ordinals(ends))
        low, high, is_broken = from_ordinals(most, ends.dtype).tolist()
        return (np.nan, np.nan) if is_broken or high == -np.inf else (-low, high)

    def group_sums(
        self, values: Array, stretches: Iterable[Stretch], num_groups: int
    ) -> tuple[Array, int]:
        """Return the sum of each group, float64, and the number of groups on all shards.

        Args:
            values: finite, float32 or float64.
            stretches: where groups lie; a group may lie in many places, and on many shards.
            num_groups: as many as this shard knows of.

        Guarantees: sums of float32 values are rounded about once, and k equal values have the sum
            k times that, up to 2²⁹ of them.
        """
        exponent, width, num_groups = self.scale_of(values, num_groups)
        scale = _SCALE if exponent > _LARGE else 0
        if scale:
            values = np.ldexp(values.astype(np.float64), -scale)
        found = _exact.levels(values, stretches, num_groups, exponent - scale, width)
        num_levels = int(self.largest(np.array([len(found)]))[0])
        found += [np.zeros(num_groups, dtype=np.int64)] * (num_levels - len(found))
        words = self.added(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        sums = words.reshape(num_levels, num_groups)
        with np.errstate(over="ignore"):
            return _exact.joined(sums, exponent, width, num_groups), num_groups

    def scale_of(self, values: Array, number: int = 0) -> tuple[int, int, int]:
        """Return the exponent and width of exact sums, and the largest number of a shard."""
        size = self.size(values)
        most = self.largest(np.array([_exact.exponent_of(values), number]))
        return int(most[0]), _exact.width_for(size), int(most[1])

    def added_floats(self, numbers: Array) -> Array:
        """Return the sum over shards of a vector of finite numbers: float64, rounded about once.

        A shard may have fewer of them than others: the last ones are then 0.
        """
        places = np.arange(len(numbers))
        stretch = Stretch(slice(0, len(numbers)), places, places)
        return self.group_sums(numbers, [stretch], len(numbers))[0]


@final
class Everyone(Population):
    """All samples, here."""

    def added(self, numbers: Array) -> Array:
        """Return them."""
        return numbers

    def largest(self, numbers: Array) -> Array:
        """Return them."""
        return numbers

    def gathered(self, numbers: Array) -> Array:
        """Return them."""
        return numbers[None]

    def kth(self, values: Array, among: Array | None, k: int) -> float:
        """Return the value that k come before, by partitioning."""
        return kth(values, among, k)

    def first(self, among: Array, count: int) -> Array:
        """Return the mask of the first `count` members."""
        kept = np.zeros_like(among)
        kept[np.flatnonzero(among)[:count]] = True
        return kept

    def count(self, where: Array) -> int:
        """Return how often `where` is true."""
        return int(np.count_nonzero(where))

    def size(self, values: Array) -> int:
        """Return how many there are."""
        return len(values)

    def total(self, values: Array, where: Array | None = None) -> Total:
        """Return Σ values (`where` true), exactly."""
        return _exact.total(values, where)

    def plus(self, number: float) -> float:
        """Return it."""
        return number

    def added_floats(self, numbers: Array) -> Array:
        """Return them."""
        return numbers


EVERYONE = Everyone()
"""All samples, in this process: what a reduction is over if nothing else is said."""
