"""PlannedLoader: the user's DataLoader, tagged, and driven by plans."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Iterator
from threading import get_ident
from typing import Any, Never, SupportsIndex, cast, final

import numpy as np
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
)

from thresher.course import Course
from thresher.errors import (
    AlreadyWrappedError,
    StaleBatchError,
)
from thresher.hand import Hand
from thresher.judging import Judge
from thresher.progress import Feed, Progress
from thresher.replaced import refuse_reading_ahead, refuse_rebuilt, refuse_taken
from thresher.stateful import Stateful, planned_base
from thresher.steps import Place
from thresher.tagging import RequestedBatches, TaggedCollate, is_bulk, iter_quietly, tagged


@final
class PlannedSampler(DistributedSampler[Any]):
    """The ids of the coming pass, in order: a fresh iterator each time.

    A DistributedSampler by type, so that trainers which replace samplers leave it alone.
    `set_epoch` is accepted and changes nothing: only training moves the clock.
    """

    def __init__(self, course: Course) -> None:
        grid = course.grid
        super().__init__(course.dataset, num_replicas=grid.world_size, rank=grid.rank)
        self._course = course

    def __iter__(self) -> Iterator[int]:
        refuse_taken()
        progress, stop = self._course.next_pass()
        return progress.ids_ahead(stop)

    def __len__(self) -> int:
        return self._course.stop(self._course.counted())

    def set_epoch(self, epoch: int) -> None:
        """Change nothing."""


@final
class _PlannedBatches(BatchSampler, DistributedSampler[Any]):
    """Batches of a planned sampler in the place of a sampler, as in a loader without batch size.

    A DistributedSampler by type, for the same reason.
    """

    def set_epoch(self, epoch: int) -> None:
        """Change nothing."""


@final
class _Drive:
    """What drives a planned loader: its one attribute, as a subclass has names of its own.

    The loader itself is not in it: a cycle would leave persistent workers to the garbage collector,
    from which torch takes seconds to stop them.
    """

    def __init__(
        self,
        course: Course,
        hand: Hand,
        inner: DataLoader[Any],
        batches: RequestedBatches,
        judge: Judge | None,
        run: Stateful,
    ) -> None:
        self.course = course
        self.run = run
        self.hand = hand
        self.inner = inner
        self.batches = batches
        self.judge = judge
        self.passes = 0


class PlannedLoader(DataLoader[Any]):
    """A DataLoader that passes over one plan per epoch; made by `Pruner.wrap`.

    It is a shallow copy of the user's loader and of its class, so a subclass keeps its attributes
    and its own `__iter__`. The batches come from an inner copy whose data set and collate function
    are tagged with ids; they are stripped here, before the loop, or the subclass, sees a batch.
    """

    _thresher: _Drive

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse_rebuilt()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        inner = self._thresher.inner
        # What a framework sets later, such as a worker_init_fn, is for those who fetch.
        if not name.startswith("_") and hasattr(inner, name):
            setattr(inner, name, TaggedCollate(value) if name == "collate_fn" else value)

    @property
    def batch_ids(self) -> np.ndarray:
        """The ids of the batch fetched last from this loader: int64, shape (m,)."""
        holder = self._thresher.hand.latest()
        if holder is None:
            raise AttributeError("batch_ids: no batch has been fetched yet")
        holder.is_named = True
        # A copy, because the ids of a batch made in this process are a part of the plan.
        return holder.ids.copy()

    def __len__(self) -> int:
        course = self._thresher.course
        counted = course.counted()
        return counted.num_batches(course.grid, course.stop(counted))

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_reading_ahead()
        drive = self._thresher
        progress, stop = drive.course.next_pass()
        feed = progress.feed(drive.course.grid.batch_size, stop, drive.judge)
        drive.batches.set(feed)
        drive.passes += 1
        return _Pass(drive, progress, feed)

    # Within a process a copy shares the pruner, or goes along with a copy of it.
    def __copy__(self) -> PlannedLoader:
        return _twin(self, self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> PlannedLoader:
        memo[id(self)] = twin = _twin(self, {})
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise AlreadyWrappedError(
            "A wrapped loader cannot be pickled: it is a part of its pruner's run",
            "the loader you built",
            "Pickle the plain loader and wrap it where it is loaded; pruner.state_dict() carries "
            "the run over",
        )


@final
class _Pass:
    """One pass over a plan: strips the ids of each batch and remembers where it lies.

    A class, not a generator, so that a loop survives an exception in the data set as it would with
    a plain DataLoader.
    """

    def __init__(self, drive: _Drive, progress: Progress, feed: Feed) -> None:
        self.progress = progress
        self.place: Place | None = None
        self.ids = np.empty(0, dtype=np.int64)
        self.fetched = 0
        self.thread = 0
        self.is_named = False
        self._drive = drive
        self._number = drive.passes
        self._expected = 0
        self.reduced_before = progress.reduced_here
        self._length = len(feed)
        start = iter_quietly if progress.is_resumed else iter
        self._batches = feed.batches(start(drive.inner))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return self._length

    def __next__(self) -> Any:
        drive = self._drive
        if drive.inner.persistent_workers and self._number != drive.passes:
            raise StaleBatchError(
                "This iterator was restarted by a newer one, as persistent workers serve only one",
                "the newest iterator of the loader",
                "Finish a pass before the next iter(loader), or set persistent_workers=False",
            )
        progress = self.progress
        try:
            fetched, batch = next(self._batches)
        except StopIteration:
            drive.hand.ended(self)
            raise
        self.ids, place = fetched.ids, fetched.place
        if place is None:
            place = progress.locate(self.ids, self._expected)
        self.place = place
        self._expected = place.stop if isinstance(place, slice) else int(place.max()) + 1
        if self._expected > progress.reach:
            progress.reach = self._expected
        self.fetched += 1
        self.thread = get_ident()
        hand = drive.hand
        if hand.newest() is not self:
            hand.hold(self)
        return batch


def planned(
    loader: DataLoader[Any], course: Course, hand: Hand, judge: Judge | None, run: Stateful
) -> PlannedLoader:
    """Return a planned copy of a loader that `taken_over` accepted; the loader is untouched."""
    grid, batches = course.grid, RequestedBatches(is_bulk(loader))
    # How far the candidates have come is one number, so they have to come in order.
    order = {"in_order": True} if judge is not None and judge.method.family == "online" else {}
    inner = tagged(loader, batches, **order)
    made = object.__new__(_planned_class(type(loader)))
    attributes = made.__dict__
    attributes.update(loader.__dict__)
    attributes["_iterator"] = None
    attributes["_thresher"] = _Drive(course, hand, inner, batches, judge, run)
    attributes["sampler"] = sampler = PlannedSampler(course)
    if is_bulk(loader):
        is_sampler = loader.batch_sampler is None
        kind = _PlannedBatches if is_sampler else BatchSampler
        batched = kind(sampler, grid.batch_size, grid.drop_last)
        attributes["sampler" if is_sampler else "batch_sampler"] = batched
    return made


def _twin(loader: PlannedLoader, attributes: dict[str, Any]) -> PlannedLoader:
    # DataLoader refuses to have some of them set after its constructor, which must not run again.
    twin = object.__new__(type(loader))
    twin.__dict__.update(attributes)
    return twin


@functools.cache
def _planned_class(kind: type[DataLoader[Any]]) -> type[PlannedLoader]:
    if kind is DataLoader:
        return PlannedLoader
    # PlannedLoader stands between the subclass and DataLoader, so that an `__iter__` of the
    # subclass that calls super() gets plain batches, already stripped.
    base = planned_base(kind, PlannedLoader)
    bases = (base,) if kind in base.__bases__ else (kind, base)
    return cast("type[PlannedLoader]", types.new_class(f"Planned{kind.__name__}", bases))
