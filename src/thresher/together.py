"""Several scores of a batch, written in one call."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import final

import numpy as np
import torch
from torch import Tensor


@final
class Together:
    """The scores of a plan where a method wants several: one table, so that one call writes all.

    Args:
        names: of the scores, two or more.
        size: S, positions of the plan.
    """

    def __init__(self, names: tuple[str, ...], size: int) -> None:
        self._names, self._pick = names, itemgetter(*names)
        self._table = np.full((len(names), size), np.nan, dtype=np.float32)
        self._batch = torch.empty(0, dtype=torch.float32, device="cpu")
        self._host, self._size = self._batch.numpy(), 0

    def scores(self) -> dict[str, Tensor]:
        """Return the trace of each score: float32, shape (S,), of the table's memory."""
        return {
            name: torch.from_numpy(row) for name, row in zip(self._names, self._table, strict=True)
        }

    def write(self, place: slice, scores: Mapping[str, Tensor]) -> bool:
        """Write a batch's scores, (m,) each; if they are not all on the host, return False."""
        each = self._pick(scores)
        for score in each:
            if score.requires_grad:
                each = tuple(score.detach() for score in each)
                break
        size = place.stop - place.start
        if size != self._size:
            self._size = size
            self._batch = torch.empty(len(each) * size, dtype=torch.float32, device="cpu")
            self._host = self._batch.numpy().reshape(len(each), size)
        try:
            torch.cat(each, out=self._batch)
        except RuntimeError:
            return False
        self._table[:, place] = self._host
        return True
