"""What passes over a user's stream go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, final

from torch.utils.data import DataLoader

from thresher.choosing import ChosenProgress
from thresher.grid import Grid
from thresher.judging import Judge
from thresher.keeping import IdReader, KeepingFeed
from thresher.passing import PassingFeed, arrivals_of, reopened
from thresher.planned import PlannedProgress
from thresher.progress import Feed, Progress
from thresher.samples import Samples


class StreamSource(Protocol):
    """Makes the feed of each pass over a stream."""

    @property
    def is_rows(self) -> bool:
        """Whether the data set makes batches itself."""
        ...

    def feed(
        self, progress: Progress, stop: int, judge: Judge | None, inner: DataLoader[Any]
    ) -> Feed:
        """Return what a new pass goes by, up to position `stop`; `inner` is who fetches."""
        ...


@final
class KeptSource:
    """Of a planned epoch: keeps or drops each sample by its id.

    Args:
        grid: how what is kept is cut into batches.
        reader: reads ids.
        collate: the user's collate function.
        is_rows: whether the data set makes batches itself.
    """

    def __init__(
        self, grid: Grid, reader: IdReader, collate: Callable[[Any], Any], *, is_rows: bool
    ) -> None:
        self.is_rows = is_rows
        self._grid = grid
        self._reader = reader
        self._collate = collate

    def feed(
        self, progress: Progress, stop: int, judge: Judge | None, inner: DataLoader[Any]
    ) -> Feed:
        """Return what keeps or drops."""
        assert isinstance(progress, PlannedProgress)
        size, collate = self._grid.batch_size, self._collate
        return KeepingFeed(progress, size, stop, self._reader, collate, is_rows=self.is_rows)


@final
class PassedSource:
    """Of an epoch whose batches are chosen among what passes by.

    Args:
        grid: how training batches are cut.
        seed: keys the draws.
        is_rows: whether the data set makes batches itself.
        quietly: begins a pass without moving a global random stream.
    """

    def __init__(
        self,
        grid: Grid,
        seed: int,
        quietly: Callable[[DataLoader[Any]], Iterator[Any]],
        *,
        is_rows: bool,
    ) -> None:
        self.is_rows = is_rows
        self._grid = grid
        self._seed = seed
        self._quietly = quietly

    def feed(
        self, progress: Progress, stop: int, judge: Judge | None, inner: DataLoader[Any]
    ) -> Feed:
        """Return what chooses."""
        assert isinstance(progress, ChosenProgress)
        assert judge is not None
        rank = self._grid.rank if self._grid.world_size > 1 else None
        return PassingFeed(
            progress,
            judge,
            -(-stop // self._grid.batch_size),
            arrivals_of(progress, self._seed, rank),
            reopened(inner, self._quietly),
            is_rows=self.is_rows,
            drops_last=self._grid.drop_last,
        )


@final
class KeepingCollate:
    """The user's collate function, beside whose batch the samples are kept."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> tuple[Samples, Any]:
        """Return the samples, of which a part may be collated anew, and their batch."""
        kept = Samples(samples, len(samples))
        return kept, kept.collated(self._collate)
