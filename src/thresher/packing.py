"""Samples on their way from a worker: a few pieces of shared memory instead of many handles."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor


def packed(samples: Sequence[Any]) -> Sequence[Any]:
    """Return the same samples, one or more, as they are cheap to send.

    Like tensors are stacked, and the parts of like tuples, lists and dicts are packed apart. What
    is left is pickled one by one, and unpickled when it is wanted, as much of it is not. Sent as
    they are, each tensor would take a handle, of which a system has not many, and 50 µs.
    """
    first, kind = samples[0], type(samples[0])
    if any(type(sample) is not kind for sample in samples):
        return _Pickled.of(samples)
    if kind is Tensor and all(_is_like(sample, first) for sample in samples):
        return _Stacked(torch.stack(list(samples)))
    if kind in (tuple, list) and all(len(sample) == len(first) for sample in samples):
        columns = [packed([sample[k] for sample in samples]) for k in range(len(first))]
        return _Records(kind, None, columns, len(samples))
    if kind is dict and all(list(sample) == list(first) for sample in samples):
        columns = [packed([sample[key] for sample in samples]) for key in first]
        return _Records(kind, list(first), columns, len(samples))
    is_simple = kind in (int, float, bool, str, type(None))
    return list(samples) if is_simple else _Pickled.of(samples)


@final
class _Stacked(Sequence[Any]):
    """Tensors of one shape."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]


@final
class _Records(Sequence[Any]):
    """Tuples, lists or dicts of the same parts."""

    def __init__(
        self, kind: type, keys: list[Any] | None, columns: list[Sequence[Any]], size: int
    ) -> None:
        self._kind = kind
        self._keys = keys
        self._columns = columns
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        parts = (column[index] for column in self._columns)
        return self._kind(parts if self._keys is None else zip(self._keys, parts, strict=True))


@final
class _Pickled(Sequence[Any]):
    """Anything else."""

    def __init__(self, data: Tensor, ends: np.ndarray) -> None:
        self._data = data
        self._ends = ends

    @staticmethod
    def of(samples: Sequence[Any]) -> _Pickled:
        """Return the samples, pickled one by one."""
        buffer, ends = io.BytesIO(), np.empty(len(samples), dtype=np.int64)
        for position, sample in enumerate(samples):
            _Pickler(buffer, protocol=5).dump(sample)
            ends[position] = buffer.tell()
        return _Pickled(torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8), ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        start = int(self._ends[index - 1]) if index else 0
        return pickle.loads(self._data.numpy()[start : int(self._ends[index])].data)


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays."""

    def reducer_override(self, value: Any) -> Any:
        is_array = type(value) is Tensor and _is_plain(value) and value.dtype is not torch.bfloat16
        return (torch.from_numpy, (value.numpy(),)) if is_array else NotImplemented


def _is_like(value: Tensor, first: Tensor) -> bool:
    return _is_plain(value) and value.shape == first.shape and value.dtype is first.dtype


def _is_plain(value: Tensor) -> bool:
    special = value.requires_grad or value.is_conj() or value.is_neg() or value.is_quantized
    return value.is_cpu and value.layout is torch.strided and not special
