"""Draws inside groups: large batches of an epoch's order, or windows of its steps.

Groups lie next to each other, so a group is a stretch of an array or a row of a matrix, and one
vectorised pass serves all of them. Random numbers and orders are arguments, as in `draws`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator

from thresher._arrays import Array
from thresher.population import EVERYONE, Population

__all__ = ["counts", "large_batches", "pieces", "probabilities", "quotas", "ranks"]

# Whole groups are worked on in pieces of about this many samples, which fit in the cache.
_CHUNK = 1 << 15

# Larger rows want more than the 30 bits that a draw has in 4 bytes.
_NARROW = 1 << 12


def large_batches(size: int, order: Array, *laid: Array) -> Iterator[tuple[Array, ...]]:
    """Yield the ids of consecutive large batches, one a row; a smaller last one comes by itself.

    Args:
        size: B, samples of a large batch, 1 or more.
        order: ids in the order of the epoch, int64, shape `(n,)`.
        laid: what else lies in that order, each of shape `(n,)`.

    Yields:
        The ids, int64, and the part of each of `laid`: shape `(rows, B)`, in the end perhaps
        `(1, n mod B)`; views, to be written to.

    Example:
        >>> weights = np.array([0.5, 0.1, 0.2, 0.4, 0.3])
        >>> for ids, part in large_batches(2, np.array([3, 1, 0, 4, 2]), weights):
        ...     print(ids.tolist(), part.tolist())
        [[3, 1], [0, 4]] [[0.5, 0.1], [0.2, 0.4]]
        [[2]] [[0.3]]
    """
    whole = len(order) - len(order) % size
    step = max(1, _CHUNK // size) * size
    for start in range(0, whole, step):
        place = slice(start, min(start + step, whole))
        yield tuple(each[place].reshape(-1, size) for each in (order, *laid))
    if whole < len(order):
        yield tuple(each[None, whole:] for each in (order, *laid))


def probabilities(importance: Array, share: float, sizes: Array | None = None) -> Array:
    """Return `draws.inclusion_probabilities` of each group by itself, Σp = share · size in each.

    Args:
        importance: a >= 0, finite: a group a row, shape `(rows, size)`; or, with `sizes`, group
            after group, shape `(m,)`. What is below 2⁻¹⁸⁷⁰ of the largest of all counts as 0.
        share: κ in (0, 1], the same share of every group.
        sizes: members of each group, 1 or more, int64, shape `(groups,)`, Σ sizes = m.

    Returns:
        float64, the shape of `importance`: p = min(a/c, 1) with the c of its group. Where at most
        κ · size importances of a group are positive, these get 1 and its zeros the rest.

    Raises:
        ValueError: an importance is negative, NaN or infinite; a size is below 1; the sizes do not
            add up to m; or the share is outside (0, 1].

    Cost: O(m) a pass, about 5 passes, 15 ms per 10⁶ samples; temporaries only for some ten thousand
        samples, or for those of the largest group.

    Example:
        >>> two_groups = np.array([8.0, 1.0, 1.0, 0.0, 2.0, 2.0])
        >>> probabilities(two_groups, 0.5, sizes=np.array([4, 2])).tolist()
        [1.0, 0.5, 0.5, 0.0, 0.5, 0.5]
    """
    a = importance.ravel()
    lengths = np.full(len(importance), importance.shape[-1]) if sizes is None else sizes
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1]; got {share}. Pass the share to keep.")
    if lengths.sum() != a.size or (lengths.size and lengths.min() < 1):
        raise ValueError(
            f"sizes must be 1 or more and add up to {a.size}; got a sum of {lengths.sum()}. "
            f"Leave empty groups out."
        )
    if not a.size:
        return np.empty(importance.shape)
    largest = float(a.max())
    # Comparisons with NaN are false, so NaN is refused too.
    if not (a.min() >= 0.0 and largest < math.inf):
        raise ValueError(
            f"importance must be finite and not negative; got values from {a.min()} to {largest}. "
            f"Replace the scores of unseen or broken samples first."
        )
    scale = 2.0 ** min(900 - math.frexp(largest)[1], 1000)
    result = np.empty(a.size)
    for groups, members in pieces(lengths):
        part = np.multiply(a[members], scale, dtype=np.float64)
        result[members] = _solved(part, lengths[groups], share)
    return result.reshape(importance.shape)


def pieces(sizes: Array) -> Iterator[tuple[slice, slice]]:
    """Yield neighbouring groups of some ten thousand members together, and these members.

    Args:
        sizes: members of each group, int64, shape `(groups,)`.

    Example:
        >>> list(pieces(np.array([3, 2])))
        [(slice(0, 2, None), slice(0, 5, None))]
    """
    ends = np.cumsum(sizes)
    first = start = 0
    while first < len(sizes):
        last = max(first + 1, int(np.searchsorted(ends, start + _CHUNK, side="right")))
        stop = int(ends[last - 1])
        yield slice(first, last), slice(start, stop)
        first, start = last, stop


def _solved(a: Array, sizes: Array, share: float) -> Array:
    """Return the probabilities of some groups, by the same passes as `draws` makes of one."""
    starts, remaining = np.cumsum(sizes) - sizes, share * sizes
    is_zero = a <= 2.0**-970
    num_positive = sizes - np.add.reduceat(is_zero, starts, dtype=np.int64)
    is_scarce = num_positive <= remaining
    uncapped = a.copy()
    if is_scarce.any():
        uncapped[np.repeat(is_scarce, sizes)] = 0.0
    rest = remaining - num_positive
    while True:
        c = np.add.reduceat(uncapped, starts) / remaining
        exceeds = uncapped > np.repeat(c, sizes)
        num_new = np.add.reduceat(exceeds, starts, dtype=np.int64)
        # By exact arithmetic fewer than `remaining` exceed c; more do only if all equal c, rounded.
        is_solved = num_new >= remaining
        if is_solved.any():
            exceeds &= ~np.repeat(is_solved, sizes)
            num_new[is_solved] = 0
        if not num_new.any():
            break
        uncapped *= ~exceeds  # seven times as fast as writing where a mask is true
        remaining = remaining - num_new
    c[is_scarce] = 2.0**-970
    of_each = np.repeat(c, sizes)
    p = np.minimum(a, of_each, out=a)
    p /= of_each
    if is_scarce.any():
        fill = np.where(is_scarce, rest / np.maximum(sizes - num_positive, 1), 0.0)
        np.copyto(p, np.repeat(fill, sizes), where=is_zero)
    return p


def ranks(scores: Array, generator: Generator) -> Array:
    """Return each score's place in its row, from 0, the smallest; NaN above all; ties at random.

    Args:
        scores: float32, not negative, or NaN, shape `(rows, size)`.
        generator: gives 32 bits for each score, less those that number a row's columns.

    Returns:
        int64, shape `(rows, size)`: a permutation of `range(size)` in each row.

    Cost: one sort of 8 bytes a score, about 20 ms per 10⁶.

    Example:
        >>> scores = np.array([[0.5, float("nan"), 0.25]], dtype=np.float32)
        >>> ranks(scores, torch.Generator().manual_seed(0)).tolist()
        [[1, 2, 0]]
    """
    size = scores.shape[1]
    low_bits = (1 << max(size - 1, 1).bit_length()) - 1
    keys = torch.empty(scores.shape, dtype=torch.int64, device="cpu")
    keys = keys.random_(0, 2**32, generator=generator).numpy()
    keys &= ~low_bits
    keys |= np.arange(size)
    # The bits of floats that are not negative are in the order of the floats; NaN's are above.
    keys |= np.abs(scores).view(np.int32).astype(np.int64) << 32
    keys.sort(axis=1)
    keys &= low_bits
    places = np.empty_like(keys)
    np.put_along_axis(places, keys, np.arange(size)[None], axis=1)
    return places


def quotas(sizes: Array, total: int, offset: float, over: Population = EVERYONE) -> Array:
    """Return how many each group is given of `total`: its share, rounded down or up.

    ⌊κ C_k + u⌋ − ⌊κ C_(k−1) + u⌋ with κ = total / Σ sizes, C the cumulative sizes and u the offset:
    for u uniform in [0, 1) a group of s members gets κ s in expectation.

    Args:
        sizes: members of each group, int64, shape `(groups,)`.
        total: from 0 to Σ sizes, which is over all groups.
        offset: u in [0, 1).
        over: the samples in all groups; those of the shards before this one come first.

    Returns:
        int64, shape `(groups,)`, Σ = total.

    Example:
        >>> quotas(np.array([4, 4, 2]), 5, offset=0.7).tolist()
        [2, 2, 1]
    """
    # In whole numbers, so that no share is off by rounding; u only counts in steps of 1 / Σ sizes.
    each = over.each(int(sizes.sum()))
    whole, before = sum(each), sum(each[: over.shard.index])
    ends = (np.concatenate([[0], np.cumsum(sizes)]) + before) * total + math.floor(offset * whole)
    return np.diff(ends // whole)


def counts(chances: Array, num: Array, generator: Generator) -> tuple[Array, Array]:
    """Return how often each member is drawn in `num` draws with replacement from its row.

    Args:
        chances: g >= 0 up to a factor of the row, not all 0, float64, shape `(rows, size)`.
        num: draws from each row, 1 or more, int64, shape `(rows,)`.
        generator: gives one uniform number a draw, of each row as many as of the one with most.

    Returns:
        The counts, int64, and the g, Σ g = 1 in each row, that they were drawn by; both of shape
        `(rows, size)`. Multinomial: E[count] = num · g. Up to 2¹² members each g is a multiple of
        2⁻³⁰, and one of less than half of that is 0.

    Cost: a sort of 4 bytes a member and a draw, 8 in larger rows: about 10 ms per 10⁶ members.

    Example:
        >>> count, g = counts(np.ones((1, 2)), np.array([5]), torch.Generator().manual_seed(0))
        >>> int(count.sum()), g.tolist()
        (5, [[0.5, 0.5]])
    """
    rows, size = chances.shape
    most, is_narrow = int(num.max()), size <= _NARROW
    bits, kind = (30, np.uint32) if is_narrow else (62, np.uint64)
    ends = np.cumsum(chances, axis=1)
    ends *= float(1 << bits) / ends[:, -1:]
    np.rint(ends, out=ends)
    ends[:, -1] = 1 << bits
    # Draws are odd and ends even, so that one sort tells how many draws lie before each end.
    uniform = torch.empty(rows, most, dtype=torch.int32 if is_narrow else torch.int64, device="cpu")
    keys = np.empty((rows, most + size), dtype=kind)
    np.bitwise_or(uniform.random_(generator=generator).numpy().view(kind), 1, out=keys[:, :most])
    spare = most - num
    if spare.any():
        np.copyto(keys[:, :most], (2 << bits) + 1, where=np.arange(most) >= num[:, None])
    np.add(ends, ends, out=keys[:, most:], casting="unsafe")
    keys.sort(axis=1)
    before = np.flatnonzero((keys & 1) == 0)
    count = (np.diff(before, prepend=-1) - 1).reshape(rows, size)
    count[1:, 0] -= spare[:-1]
    ends[:, 1:] -= ends[:, :-1].copy()
    ends /= 1 << bits
    return count, ends
