"""Lists of ids on their way to the data set."""

from __future__ import annotations

from typing import Any, final

import numpy as np


@final
class IdBatch(list[int]):
    """A batch's ids as the list that a data set expects, and as the array it was made from.

    Pickled, for a worker, it is a plain list.
    """

    __slots__ = ("array",)
    array: np.ndarray

    @staticmethod
    def of(array: np.ndarray) -> IdBatch:
        """Return the batch of `array`; a constructor of its own would be slower."""
        batch = IdBatch(array.tolist())
        batch.array = array
        return batch

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, iter(self)


@final
class CandidateIds(list[int]):
    """Ids of candidates: their samples are wanted too, so that a part of them can be trained.

    Args:
        ids: int64, shape (m,).
        is_scored: whether they are wanted as a collated batch too.
    """

    __slots__ = ("is_scored",)
    is_scored: bool

    @staticmethod
    def of(ids: np.ndarray, *, is_scored: bool) -> CandidateIds:
        """Return the request for `ids`."""
        request = CandidateIds(ids.tolist())
        request.is_scored = is_scored
        return request
