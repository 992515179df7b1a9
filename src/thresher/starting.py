"""From settings to the clock of a run, once its data set is known; and from there to a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from thresher._version import __version__
from thresher.accounting import Report
from thresher.clock import Clock
from thresher.epochs import ChosenEpochs, Epochs, PlannedEpochs
from thresher.errors import NotIteratedError
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.outline import Outline
from thresher.parallel.team import Team
from thresher.plan import Plan
from thresher.planning import Planner, Protection
from thresher.schedule import Budget, kept_of_stream
from thresher.settings import Data, Settings
from thresher.storage import dtype_of
from thresher.streamed import StreamedEpochs


def refuse_without_data() -> NoReturn:
    """Say that a run needs to know its data set."""
    raise NotIteratedError(
        "The pruner has no data set yet",
        "a loader or a number of samples",
        "Call loader = pruner.wrap(loader) first, or build Pruner(..., num_samples=n)",
    )


def started(
    method: Method,
    settings: Settings,
    protection: Protection,
    log: Callable[[dict[str, float], int], None] | None,
    opened: Callable[[Plan | Outline], None],
    data: Data,
) -> Clock:
    """Return the clock of a run that has not begun.

    Raises:
        SettingError: protected samples or labels do not fit the data set.
    """
    protection.check(data.num_samples)
    about = {
        "version of Thresher": __version__,
        "method": repr(method),
        "settings": repr(settings),
        "number of samples": data.num_samples,
    }
    return Clock(
        _epochs(data, method, settings, protection),
        Budget(num_samples=data.num_samples, epochs=settings.epochs, visits=data.visits),
        Team(about, shards=settings.shard),
        accumulation_steps=settings.accumulation_steps,
        steps=settings.steps,
        log=log,
        opened=opened,
    )


def reported(
    clock: Clock | None, method: Method, settings: Settings, *, is_complete: bool
) -> Report:
    """Return what a run trained and saved so far, with notes on what was not as asked."""
    report = Report(
        method=repr(method),
        num_samples=_size(clock),
        epochs=settings.epochs,
        asked=method.prune_ratio,
        rows=[] if clock is None else clock.all_rows(),
        ends_in_epoch=settings.steps is not None,
    )
    return report.with_notes(is_complete=is_complete)


def _size(clock: Clock | None) -> int:
    if clock is None or isinstance(clock.epochs, StreamedEpochs):
        return 0
    return clock.budget.num_samples


def _streamed(data: Data, method: OnlineMethod, settings: Settings) -> StreamedEpochs:
    assert data.batch_size is not None
    kept = kept_of_stream(
        method,
        epochs=settings.epochs,
        has_steps=settings.steps is not None,
        has_equal_epochs=data.steps_per_epoch is not None,
    )
    return StreamedEpochs(
        method=method,
        batch_size=data.batch_size,
        kept=method.kept if kept is None else kept,
        asked=None if kept is None else 1 - kept,
        num_batches=data.steps_per_epoch,
        step_exponent=settings.step_exponent,
        max_weight=settings.max_weight,
    )


def _epochs(data: Data, method: Method, settings: Settings, protection: Protection) -> Epochs:
    if isinstance(method, OnlineMethod) and data.is_stream:
        return _streamed(data, method, settings)
    if isinstance(method, OnlineMethod):
        return ChosenEpochs(
            method=method,
            seed=settings.seed,
            shuffled=data.shuffled,
            batch_size=data.batch_size,
            step_exponent=settings.step_exponent,
            max_weight=settings.max_weight,
        )
    planner = Planner(
        method=method,
        seed=settings.seed,
        shuffled=data.shuffled,
        step_exponent=settings.step_exponent,
        max_weight=settings.max_weight,
        protection=protection,
    )
    return PlannedEpochs(
        planner=planner,
        accumulation_steps=settings.accumulation_steps,
        score_dtype=dtype_of(settings.score_dtype),
    )
