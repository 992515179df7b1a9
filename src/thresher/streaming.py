"""Whether a loader over a stream can be trained on, and by what its passes go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

from torch.utils.data import DataLoader, IterableDataset

from thresher.clock import Clock
from thresher.course import Course
from thresher.errors import IterableDatasetError, SamplerError, SettingError
from thresher.grid import Grid
from thresher.judging import Judge
from thresher.keeping import IdReader, IdsOf
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.parallel.ranks import Ranks
from thresher.refreshing import judge_of, refresh_of, refreshes
from thresher.settings import Data, Settings
from thresher.sources import KeptSource, PassedSource, StreamSource
from thresher.stateful import refuse_loaded
from thresher.tagging import iter_quietly
from thresher.takeover import require_length, require_loader, taken_over


@final
class Asked(NamedTuple):
    """What a user asks of `Pruner.wrap`; see there."""

    score_fn: Callable[[Any], Any] | None = None
    remainder: str | None = None
    ids: IdsOf | None = None
    steps_per_epoch: int | None = None
    batch_size: int | None = None


@final
class TakenOver(NamedTuple):
    """How a loader is driven.

    Args:
        data: what the run has to know of its data.
        grid: how batches are cut.
        judge: what scores samples; None if nothing does.
        source: what passes over a stream go by; None: the data set has a length.
    """

    data: Data
    grid: Grid
    judge: Judge | None
    source: StreamSource | None


def course_over(
    loader: DataLoader[Any],
    method: Method,
    settings: Settings,
    clock: Clock | None,
    clock_of: Callable[[Data], Clock],
    asked: Asked,
) -> tuple[Course, Judge | None]:
    """Return what passes over a loader go over, and what scores its samples, if anything does.

    Args:
        loader: the user's.
        method: the rule.
        settings: of the run.
        clock: of the run; None if it does not know its data yet.
        clock_of: returns it for these data.
        asked: what the user asks.

    Raises:
        AlreadyWrappedError, IterableDatasetError, SamplerError, SettingError: it cannot be driven.
        DatasetChangedError: the run has other data.
    """
    require_loader(loader)
    data, grid, judge, source = _driven(loader, method, settings, clock, asked)
    clock = clock_of(data)
    clock.join(grid)
    clock.refresh = refresh_of(loader, judge, grid, clock.team)
    course = Course(loader.dataset, clock, grid, source)
    clock.settle()
    return course, judge


def _driven(
    loader: DataLoader[Any], method: Method, settings: Settings, clock: Clock | None, asked: Asked
) -> TakenOver:
    if isinstance(loader.dataset, IterableDataset):
        return _stream(loader, method, settings, clock, asked)
    for name in ("ids", "steps_per_epoch", "batch_size"):
        if getattr(asked, name) is not None:
            raise SettingError(
                f"wrap({name}={getattr(asked, name)!r}) of a loader over a "
                f"{type(loader.dataset).__name__}",
                "a loader over a stream, an IterableDataset",
                f"The samples of a map-style data set have positions: leave {name} out",
            )
    grid, shuffled = taken_over(loader, asked.remainder)
    judge = judge_of(loader, method, asked.score_fn)
    visits = settings.visits(grid.global_size)
    size = len(cast("Any", loader.dataset))
    return TakenOver(Data(size, shuffled, visits, grid.batch_size), grid, judge, None)


def _stream(
    loader: DataLoader[Any], method: Method, settings: Settings, clock: Clock | None, asked: Asked
) -> TakenOver:
    refuse_loaded(loader)
    is_online = isinstance(method, OnlineMethod)
    if asked.ids is None and not is_online:
        require_length(loader)
    if asked.remainder is not None:
        raise SettingError(
            f"wrap(remainder={asked.remainder!r}) of a loader over a stream",
            "remainder left out",
            "Nobody knows a stream's last batch before; steps_per_epoch= makes equal steps",
        )
    ranks = Ranks.found()
    grid = Grid(
        batch_size=_batch_size(loader, asked),
        drop_last=loader.drop_last,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    if is_online:
        return _passed(loader, method, settings, asked, grid)
    return _kept(loader, method, settings, clock, asked, grid)


def _batch_size(loader: DataLoader[Any], asked: Asked) -> int:
    size = loader.batch_size if asked.batch_size is None else asked.batch_size
    if size is None:
        raise SamplerError(
            "A loader with batch_size=None over a stream, whose data set makes the batches",
            "the size of a training batch",
            "Write pruner.wrap(loader, ..., batch_size=...)",
        )
    if size < 1 or (asked.batch_size is not None and loader.batch_size is not None):
        raise SettingError(
            f"wrap(batch_size={asked.batch_size}) of a loader with batch_size={loader.batch_size}",
            "a batch size, 1 or more, where the loader has none",
            "Leave it out: training batches are as large as the loader's",
        )
    return size


def _passed(
    loader: DataLoader[Any], method: OnlineMethod, settings: Settings, asked: Asked, grid: Grid
) -> TakenOver:
    steps, name = asked.steps_per_epoch, type(method).__name__
    if asked.ids is not None:
        raise SettingError(
            f"wrap(ids={asked.ids!r}) with {name}",
            "a method that remembers samples",
            "An online method remembers none: leave ids out",
        )
    if steps is not None and steps < 1:
        raise SettingError(f"wrap(steps_per_epoch={steps})", "batches of an epoch, 1 or more")
    if steps is None and grid.world_size > 1:
        raise IterableDatasetError(
            f"A stream on {grid.world_size} ranks, whose parts may differ in length",
            "equal steps on all ranks",
            "Write pruner.wrap(loader, ..., steps_per_epoch=...), and let each rank read a part of "
            "its own",
        )
    is_rows = loader.batch_size is None
    judge = judge_of(loader, method, asked.score_fn, is_stream=True)
    if is_rows and judge is not None:
        judge = judge._replace(collate=_as_it_is)  # its rows are collated already
    data = Data(1, False, settings.visits(grid.global_size), grid.batch_size, True, steps)
    source = PassedSource(grid, settings.seed, iter_quietly, is_rows=is_rows)
    return TakenOver(data, grid, judge, source)


def _kept(
    loader: DataLoader[Any],
    method: Method,
    settings: Settings,
    clock: Clock | None,
    asked: Asked,
    grid: Grid,
) -> TakenOver:
    assert asked.ids is not None
    if clock is None:
        raise SettingError(
            f"wrap(ids={asked.ids!r}) without the number of samples",
            "n, as ids are from 0 to n - 1",
            "Build Pruner(..., num_samples=n)",
        )
    if asked.steps_per_epoch is not None:
        raise SettingError(
            f"wrap(steps_per_epoch={asked.steps_per_epoch}) with {type(method).__name__}",
            "steps_per_epoch left out",
            "An epoch of a historical method is the samples of its plan",
        )
    if asked.score_fn is not None and refreshes(method):
        raise SettingError(
            f"wrap(ids=..., score_fn=...) with {type(method).__name__}, which scores hidden "
            "samples anew",
            "score_fn left out",
            "A stream cannot be asked for single samples: it goes on with the scores it has",
        )
    if grid.world_size > 1:
        raise IterableDatasetError(
            f"ids= on {grid.world_size} ranks, where nobody knows which rank reads which sample",
            "one process, or a map-style data set",
            "On several ranks use a map-style data set; or let each rank keep what "
            "pruner.plan(epoch) has and tell the ids: pruner.reduce(losses, ids=ids)",
        )
    num_samples, is_rows = clock.budget.num_samples, loader.batch_size is None
    judge_of(loader, method, None, is_stream=True)
    data = Data(num_samples, False, settings.visits(grid.global_size), grid.batch_size)
    reader = IdReader(asked.ids, num_samples, clock.keys)
    collate = _as_it_is if is_rows else loader.collate_fn
    return TakenOver(data, grid, None, KeptSource(grid, reader, collate, is_rows=is_rows))


def _as_it_is(batch: Any) -> Any:
    return batch
