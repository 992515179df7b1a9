"""Samples as a data set gave them, of which a part can be taken and collated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.errors import BatchMismatchError
from thresher.packing import packed


@final
class Samples:
    """What was fetched for some ids: a list of samples, or whole batches as tensors and arrays.

    Nothing is assumed of a batch that was collated: a part is taken before, and collated anew. A
    data set whose `__getitems__` makes batches has to make them of tensors and arrays with a row
    for each id, in tuples, lists and mappings.

    Args:
        given: what the data set gave.
        size: for how many ids.

    Raises:
        BatchMismatchError: it is neither a list of samples nor rows.
    """

    def __init__(self, given: Any, size: int) -> None:
        self.size = size
        is_list = _is_list(given, size) or _is_column(given)
        is_rows = not is_list and _has_rows(given, size)
        if not is_rows and not (isinstance(given, Sequence) and len(given) == size):
            raise BatchMismatchError(
                f"The data set's __getitems__ gave a {type(given).__name__} for {size} ids",
                f"a list of {size} samples, or tensors and arrays of {size} rows",
                "An online method trains a part of what it fetched; return a list of samples",
            )
        self._given, self._is_rows = given, is_rows

    @classmethod
    def rows(cls, batch: Any) -> Samples:
        """Return the rows of a batch that a data set made itself.

        Raises:
            BatchMismatchError: its parts have not as many rows.
        """
        new = object.__new__(cls)
        new.size, new._given, new._is_rows = _num_rows(batch), batch, True
        return new

    def take(self, positions: np.ndarray) -> Samples:
        """Return the samples at `positions`, int64 (m,)."""
        if self._is_rows:
            part = _mapped(lambda rows: _rows(rows[0], positions), [self._given])
        else:
            part = [self._given[position] for position in positions.tolist()]
        return self._like(part, len(positions))

    def joined(self, other: Samples) -> Samples:
        """Return these samples, and then the others."""
        if self._is_rows:
            both = _mapped(_concatenated, [self._given, other._given])
        else:
            both = [*self._given, *other._given]
        return self._like(both, self.size + other.size)

    def _like(self, given: Any, size: int) -> Samples:
        new = object.__new__(Samples)
        new.size, new._given, new._is_rows = size, given, self._is_rows
        return new

    def collated(self, collate: Callable[[Any], Any]) -> Any:
        """Return what the user's collate function makes of them."""
        # A list of its own, and dicts, which the function may change: some take labels out.
        given = self._given
        return collate(given if self._is_rows else [_own(each) for each in given])

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._given if self._is_rows else packed(self._given)
        return _restored, (given, self.size, self._is_rows)


def _own(sample: Any) -> Any:
    return sample.copy() if type(sample) in (dict, list) else sample


def _restored(given: Any, size: int, is_rows: bool) -> Samples:
    new = object.__new__(Samples)
    new.size, new._given, new._is_rows = size, given, is_rows
    return new


def _is_list(given: Any, size: int) -> bool:
    return isinstance(given, list) and len(given) == size


def _has_rows(given: Any, size: int) -> bool:
    if isinstance(given, Tensor | np.ndarray):
        return given.ndim > 0 and len(given) == size
    if isinstance(given, Mapping):
        return bool(given) and all(_has_rows(each, size) for each in given.values())
    if _is_column(given):
        return len(given) == size
    if isinstance(given, tuple | list):
        return bool(given) and all(_has_rows(each, size) for each in given)
    return False


def _is_column(given: Any) -> bool:
    """Return whether a list or tuple has an entry a row, such as a string, and not a part each."""
    if not isinstance(given, list | tuple) or hasattr(given, "_fields"):
        return False
    return all(_is_entry(each) for each in given)


def _is_entry(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_entry(each) for each in value.values())
    return not isinstance(value, Tensor | np.ndarray | list | tuple)


def _num_rows(batch: Any) -> int:
    first = batch
    while isinstance(first, Mapping | list | tuple) and first and not _is_column(first):
        first = next(iter(first.values() if isinstance(first, Mapping) else first))
    is_one = isinstance(first, Tensor | np.ndarray) and first.ndim == 0
    size = 0 if is_one or not isinstance(first, Tensor | np.ndarray | list | tuple) else len(first)
    if not size or not _has_rows(batch, size):
        raise BatchMismatchError(
            f"The data set made a batch of type {type(batch).__name__} whose parts have not as "
            "many rows",
            "tensors, arrays and lists of strings or numbers with a row for each sample, in "
            "tuples, lists and dicts",
            "Let the data set yield single samples, and DataLoader(..., batch_size=...) make "
            "batches of them",
        )
    return size


def _mapped(do: Callable[[list[Any]], Any], given: list[Any]) -> Any:
    """Apply `do` to the tensors, arrays and columns at the same place of each of `given`."""
    first = given[0]
    if isinstance(first, Tensor | np.ndarray) or _is_column(first):
        return do(given)
    if isinstance(first, Mapping):
        return type(first)({key: _mapped(do, [each[key] for each in given]) for key in first})  # pyright: ignore[reportCallIssue]
    parts = [_mapped(do, [each[k] for each in given]) for k in range(len(first))]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)


def _rows(rows: Any, positions: np.ndarray) -> Any:
    if isinstance(rows, Tensor):
        return rows[torch.from_numpy(positions).to(rows.device)]
    if isinstance(rows, np.ndarray):
        return rows[positions]
    return type(rows)(rows[position] for position in positions.tolist())


def _concatenated(parts: list[Any]) -> Any:
    first = parts[0]
    if not isinstance(first, Tensor | np.ndarray):
        return type(first)(itertools.chain.from_iterable(parts))
    if any(part.shape[1:] != first.shape[1:] for part in parts):
        raise BatchMismatchError(
            f"The data set made batches with rows of shapes "
            f"{' and '.join(sorted({str(tuple(part.shape[1:])) for part in parts}))}",
            "rows of one shape, as a training batch is made of the chosen rows of several",
            "Let the data set yield single samples, and DataLoader(..., batch_size=...) with your "
            "collate function pad them",
        )
    return torch.cat(parts) if isinstance(first, Tensor) else np.concatenate(parts)
