"""How scores are stored between epochs: as they are, or in fewer bytes.

Methods always see float32. What is stored is a fixed function of a score alone, and what is read is
stored again as the same bits: nothing drifts, and ranks and shards agree without a common range.

| dtype | largest error of a score | of what size |
|---|---|---|
| float32 | none | |
| bfloat16 | 0.4 % | all |
| float16 | 0.05 % | 6·10⁻⁵ to 65504; below, 3·10⁻⁸; above, it becomes 65504 |
| uint8 | 7.4 % | 1.5·10⁻⁵ to 588; below, 8·10⁻⁶; above, it becomes 588 |

One byte is 127 sizes 2^(−16 + j/5) of either sign, zero, and NaN. The error of a mean that moves by
a share a at each visit, as Omission's scores do, is up to 1/a times these: it stays where it is
when it should move by less than half a step.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from thresher._arrays import Array
from thresher.errors import SettingError

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
"""What scores can be stored as."""

_CHUNK = 1 << 15
_NUM_SIZES, _SMALLEST, _PER_DOUBLING = 127, -16, 5
_ZERO = _NUM_SIZES + 1  # the code of 0; below it negative scores, and 0 is NaN


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype, of those that scores can be stored as, that has this name.

    Raises:
        SettingError: there is none.

    Example:
        >>> dtype_of("torch.bfloat16")
        torch.bfloat16
    """
    found = [dtype for dtype in DTYPES if str(dtype) == name]
    if not found:
        raise SettingError(
            f"Pruner(score_dtype={name})",
            ", ".join(map(str, DTYPES[:-1])) + f" or {DTYPES[-1]}",
            "torch.bfloat16 halves what scores take, whatever their size",
        )
    return found[0]


def widened(stored: Tensor) -> Tensor:
    """Return stored scores as float32, a new tensor.

    Example:
        >>> widened(narrowed(torch.tensor([0.0, -1.0, 4.1, torch.nan]), torch.uint8)).tolist()
        [0.0, -1.0, 4.0, nan]
    """
    if stored.dtype != torch.uint8:
        return stored.to(torch.float32, copy=True)
    codes, values = stored.numpy(), np.empty(len(stored), dtype=np.float32)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        _values().take(codes[part], out=values[part])
    return torch.from_numpy(values)


def narrowed(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Return float32 scores as they are stored: a new tensor."""
    stored = torch.empty(len(scores), dtype=dtype, device="cpu")
    narrow_into(stored, scores.clone())
    return stored


def narrow_into(stored: Tensor, scores: Tensor) -> None:
    """Store float32 scores, which may be overwritten.

    Cost: about a nanosecond a score, and no memory.
    """
    if stored.dtype != torch.uint8:
        largest = torch.finfo(stored.dtype).max
        stored.copy_(scores.clamp_(-largest, largest))  # NaN stays NaN
        return
    codes, keys = stored.numpy(), scores.numpy().view(np.uint32)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        _codes().take(keys[part] >> 16, out=codes[part])


def bits(stored: Tensor) -> Array:
    """Return a numpy view of stored scores; of those that numpy has no dtype for, of their bits."""
    return (stored.view(torch.int16) if stored.itemsize == 2 else stored).numpy()


@cache
def _values() -> Array:
    """The score of each code: float32, shape (256,)."""
    sizes = 2.0 ** (_SMALLEST + np.arange(_NUM_SIZES) / _PER_DOUBLING)
    return np.concatenate([[np.nan], -sizes[::-1], [0], sizes]).astype(np.float32)


@cache
def _codes() -> Array:
    """The code of each float32, by its upper 16 bits: uint8, shape (65536,)."""
    keys = np.arange(1 << 16, dtype=np.uint32)
    # The middle of all that begin with these bits; of the infinities, themselves.
    low = np.where(keys & 0x7FFF == 0x7F80, np.uint32(0), np.uint32(1 << 15))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = (keys << np.uint32(16) | low).view(np.float32).astype(np.float64)
        place = np.rint((np.log2(np.abs(scores)) - _SMALLEST) * _PER_DOUBLING)
        size = np.clip(place, 0, _NUM_SIZES - 1) + 1
    size[np.abs(scores) < 2.0 ** (_SMALLEST - 1)] = 0
    codes = np.where(scores < 0, _ZERO - size, _ZERO + size)
    return np.where(np.isnan(scores), 0, codes).astype(np.uint8)
