"""An epoch whose batches are chosen while it is trained, as those who choose see it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from thresher.draws import Draws
from thresher.outline import Outline
from thresher.stream import Standing


class Laid(NamedTuple):
    """A batch that was handed to a loop.

    Args:
        number: which one of the epoch, from 0.
        ids: int64, shape (m,), unique.
        weights: float32, shape (m,); None means 1 for each, for samples that waited.
        after: where the run stands once it is trained.
    """

    number: int
    ids: np.ndarray
    weights: Tensor | None
    after: Standing


class Chosen(Protocol):
    """An epoch in progress, as a chooser sees it."""

    seconds: float

    @property
    def plan(self) -> Outline:
        """How long the epoch is."""
        ...

    @property
    def standing(self) -> Standing:
        """Where the run stands after the last batch that was trained."""
        ...

    @property
    def num_done(self) -> int:
        """How many batches lie before that."""
        ...

    @property
    def last(self) -> Laid | None:
        """The batch that was trained last."""
        ...

    def everyone(self) -> np.ndarray:
        """Return the ids of an epoch that trains all samples, in order: int64."""
        ...

    def lay(self, batch: Laid) -> None:
        """Take note of a batch that is handed to a loop."""
        ...

    def end(self, number: int, after: Standing) -> None:
        """Take note that a stream gave `number` batches, and where the run stands after it."""
        ...


class Source(Protocol):
    """Where candidates come from, as a chooser sees it."""

    @property
    def num_samples(self) -> int:
        """Return of how many samples all, or enough for a batch, are looked at."""
        ...

    def draws(self, cursor: int) -> Draws:
        """Return the random numbers for the candidates at `cursor`."""
        ...


class Asked(NamedTuple):
    """What was asked of the data set: candidates, or the queue, before which nothing moves."""

    cursor: int
    after: int
    is_queue: bool
