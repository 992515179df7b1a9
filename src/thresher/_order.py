"""Random orders, and order statistics, by sorting and partitioning in numpy.

Both stay fast where a random walk over memory does not.
"""

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from thresher._arrays import Array, mask

# Keys are drawn in pieces that fit in the cache; beside the result nothing grows with n.
_CHUNK = 1 << 14
_BLOCK = 1 << 12


def random_order(num: int, generator: Generator, among: Tensor | None = None) -> Tensor:
    """Return `range(num)`, or those of it where `among` is true, in a random order: int64.

    Every id gets a random key that has the id in its low bits; the keys of `among` are sorted. So
    a part's order is the whole order without the others, and these are never put in order. Where
    keys agree in all other bits (about n³/2⁶⁴ pairs: 0.05 in an order of 10⁶, 7·10⁴ in one of 10⁸)
    the lower id comes first.

    Args:
        num: n.
        generator: gives 63 random bits an id.
        among: bool, shape `(num,)`; None means everybody.

    Cost: O(n), about 12 ns a sample from 10⁶ to 10⁸ (numpy sorts with SIMD; `torch.randperm` goes
        from 7 to 50), and no memory beside the result.
    """
    members = None if among is None else mask(among, "among", num)
    low_bits = (1 << max(num - 1, 0).bit_length()) - 1
    order = np.empty(num if members is None else int(np.count_nonzero(members)), dtype=np.int64)
    drawn = torch.empty(min(num, _CHUNK), dtype=torch.int64, device="cpu")
    filled = 0
    for start in range(0, num, _CHUNK):
        stop = min(start + _CHUNK, num)
        keys = drawn[: stop - start].random_(generator=generator).numpy()
        keys &= ~low_bits
        keys |= np.arange(start, stop)
        if members is not None:
            keys = keys.compress(members[start:stop])
        order[filled : filled + len(keys)] = keys
        filled += len(keys)
    order.sort()
    order &= low_bits
    return torch.from_numpy(order)


def local_order(num: int, generator: Generator) -> Tensor:
    """Return `range(num)` in a random order inside blocks of 2¹² neighbours: int64.

    A key has 19 random bits above the 12 of the place in the block. Where two keys agree in the
    random ones (one pair in 2¹⁹) the lower id comes first.

    Cost: O(n), about 6 ns a sample; walks that follow it stay in the cache.
    """
    order = np.empty(num, dtype=np.int64)
    places = np.arange(_BLOCK, dtype=np.int32)
    drawn = torch.empty(_BLOCK, dtype=torch.int32, device="cpu")
    for start in range(0, num, _BLOCK):
        block = order[start : start + _BLOCK]
        keys = drawn[: len(block)].random_(generator=generator).numpy()
        keys &= -_BLOCK
        keys |= places[: len(block)]
        keys.sort()
        keys &= _BLOCK - 1
        np.add(keys, start, out=block)
    return torch.from_numpy(order)


def compressed(values: Array, among: Array) -> Array:
    """Return `values` where `among`: np.compress without its 8 bytes of indices a value."""
    result = np.empty(int(np.count_nonzero(among)), dtype=values.dtype)
    filled = 0
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK].compress(among[start : start + _CHUNK])
        result[filled : filled + len(part)] = part
        filled += len(part)
    return result


def kth(values: Array, among: Array | None, k: int) -> float:
    """Return the value with exactly `k` smaller or equal ones before it, `among` some or all."""
    ordered = values.copy() if among is None else compressed(values, among)
    ordered.partition(k)
    return ordered[k]


def ordinals(values: Array) -> Array:
    """Return whole numbers in the order of the values, neighbours for neighbours: int64.

    Args:
        values: integers, float32 or float64; −0.0 gives what 0.0 does, NaN anything.
    """
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    size = values.dtype.itemsize
    bits = (values + values.dtype.type(0)).view(f"i{size}").astype(np.int64)
    return np.where(bits < 0, bits ^ ((1 << 8 * size - 1) - 1), bits)


def from_ordinals(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values that `ordinals` made these numbers of."""
    if dtype.kind != "f":
        return numbers.astype(dtype)
    size = dtype.itemsize
    bits = np.where(numbers < 0, numbers ^ ((1 << 8 * size - 1) - 1), numbers)
    return bits.astype(f"i{size}").view(dtype)
