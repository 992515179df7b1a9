"""Batches of a user's stream, of which a plan keeps or drops each sample by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, final

import numpy as np
from torch import Tensor

from thresher.errors import StreamIdError
from thresher.id_batches import IdBatch
from thresher.keys import Keys
from thresher.passing import Loaded
from thresher.planned import PlannedProgress
from thresher.samples import Samples

IdsOf = str | Callable[[Any], Any]
"""Where the ids of a batch are: a key into it, or what returns them."""


@final
class IdReader:
    """Reads the ids of loaded batches, and refuses what is not one stable id a sample.

    Args:
        ids: where they are.
        num_samples: n; ids are from 0 to n - 1.
        keys: numbers ids that are strings.
    """

    def __init__(self, ids: IdsOf, num_samples: int, keys: Keys) -> None:
        self._ids = ids
        self._num_samples = num_samples
        self._keys = keys

    def begin(self) -> None:
        """Begin a pass, in which no id has come yet."""
        self._has_come = np.zeros(self._num_samples, dtype=np.bool_)

    def read(self, batch: Any, size: int) -> np.ndarray:
        """Return the ids of a batch of `size` samples: int64, (size,).

        Raises:
            StreamIdError: there are none, they are no ids, or one came before in this pass.
        """
        given = self._found(batch)
        ids = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if ids.shape != (size,) or ids.dtype.kind not in "iuU":
            raise StreamIdError(
                f"The ids of a batch of {size} samples have shape {ids.shape} and dtype "
                f"{ids.dtype}",
                "a whole number, or a string, for each sample",
                "Point ids= at a column that names each sample the same way in every pass",
            )
        if ids.dtype.kind == "U":
            ids = self._keys.rows(ids.tolist(), self._num_samples)
        ids = ids.astype(np.int64)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self._num_samples:
            raise StreamIdError(
                f"The stream yielded ids from {low} to {high}",
                f"whole numbers from 0 to {self._num_samples - 1}, as num_samples="
                f"{self._num_samples} says",
                "Number the samples from 0, or build Pruner(..., num_samples=...) for all of them",
            )
        twice = self._has_come[ids]
        if twice.any() or len(np.unique(ids)) < size:
            found, counts = np.unique(ids, return_counts=True)
            names = np.concatenate([ids[twice], found[counts > 1]])[:5].tolist()
            raise StreamIdError(
                f"Ids came twice in one pass over the stream, such as {names}",
                "each sample once a pass",
                "Let each worker read a part of its own (torch.utils.data.get_worker_info), and "
                "leave .repeat() and resampling out",
            )
        self._has_come[ids] = True
        return ids

    def _found(self, batch: Any) -> Any:
        if callable(self._ids):
            return self._ids(batch)
        if not isinstance(batch, Mapping) or self._ids not in batch:
            came = type(batch).__name__
            if isinstance(batch, Mapping):
                came = f"dict of {', '.join(map(str, batch))}"
            raise StreamIdError(
                f"A batch is a {came}, where ids={self._ids!r}",
                f"a dict with the ids of its samples as {self._ids!r}",
                "Keep the column through map and collate_fn, or give a function: "
                "ids=lambda batch: batch[2]",
            )
        return batch[self._ids]


@final
class KeepingFeed:
    """Passes over a stream for a planned epoch: what is planned is kept, in the stream's order.

    Args:
        progress: the epoch.
        batch_size: samples of a batch.
        stop: how many planned samples are trained.
        reader: reads ids.
        collate: makes a batch of samples.
        is_rows: whether the data set makes batches itself.
    """

    def __init__(
        self,
        progress: PlannedProgress,
        batch_size: int,
        stop: int,
        reader: IdReader,
        collate: Callable[[Any], Any],
        *,
        is_rows: bool,
    ) -> None:
        self._progress = progress
        self._batch_size = batch_size
        self._left = max(0, stop - progress.seen)
        self._reader = reader
        self._collate = collate
        self._is_rows = is_rows

    def __len__(self) -> int:
        return -(-self._left // self._batch_size)

    def requests(self) -> Iterator[IdBatch]:
        """Return nothing: a stream cannot be asked."""
        return iter(())

    def batches(self, fetched: Iterator[Any]) -> Iterator[Any]:
        """Return pairs of ids and batch, from what was fetched."""
        plan = self._progress.plan
        unseen = plan.ids.numpy()[self._progress.unseen(len(plan))]
        is_wanted = np.zeros(plan.num_samples, dtype=np.bool_)
        is_wanted[unseen] = True
        self._reader.begin()
        loaded = Loaded(fetched, self._is_rows, None)
        return _Kept(loaded, is_wanted, self._left, self._batch_size, self._reader, self._collate)


@final
class _Kept:
    """Batches of what is wanted."""

    def __init__(
        self,
        loaded: Loaded,
        is_wanted: np.ndarray,
        left: int,
        batch_size: int,
        reader: IdReader,
        collate: Callable[[Any], Any],
    ) -> None:
        self._loaded = loaded
        self._is_wanted = is_wanted
        self._left = left
        self._batch_size = batch_size
        self._reader = reader
        self._collate = collate
        self._samples: Samples | None = None
        self._ids = np.empty(0, dtype=np.int64)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        size = min(self._batch_size, self._left)
        if not size:
            raise StopIteration
        while len(self._ids) < size:
            try:
                samples, batch = next(self._loaded)
            except StopIteration:
                self._refuse_end()
            ids = self._reader.read(batch, samples.size)
            places = np.flatnonzero(self._is_wanted[ids])
            self._is_wanted[ids] = False
            if len(places) == samples.size == size and not len(self._ids):
                self._left -= size
                return IdBatch(ids), batch  # as the loader made it
            if len(places):
                part = samples.take(places)
                self._samples = part if self._samples is None else self._samples.joined(part)
                self._ids = np.concatenate([self._ids, ids[places]])
        return self._of_samples(size)

    def _of_samples(self, size: int) -> Any:
        assert self._samples is not None
        samples, ids = self._samples, self._ids
        self._samples, self._ids = samples.take(np.arange(size, samples.size)), ids[size:]
        self._left -= size
        return IdBatch(ids[:size]), samples.take(np.arange(size)).collated(self._collate)

    def _refuse_end(self) -> NoReturn:
        missing = np.flatnonzero(self._is_wanted)
        raise StreamIdError(
            f"A pass over the stream ended without {len(missing)} samples that the epoch has "
            f"planned, such as {missing[:5].tolist()}",
            f"each of the {len(self._is_wanted)} samples once a pass, as num_samples="
            f"{len(self._is_wanted)} says",
            "Build Pruner(..., num_samples=...) for the samples there are, numbered from 0 without "
            "a gap, and see that the workers read all of them",
        )
