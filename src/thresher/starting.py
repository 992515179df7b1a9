"""From settings to the clock of a run, once its data set is known."""

from __future__ import annotations

from collections.abc import Callable

from thresher.clock import Clock
from thresher.epochs import PlannedEpochs
from thresher.methods._method import Method
from thresher.outline import Outline
from thresher.plan import Plan
from thresher.planning import Planner, Protection
from thresher.schedule import Budget
from thresher.settings import Data, Settings


def started(
    data: Data,
    method: Method,
    settings: Settings,
    protection: Protection,
    log: Callable[[dict[str, float], int], None] | None,
    opened: Callable[[Plan | Outline], None],
) -> Clock:
    """Return the clock of a run that has not begun.

    Raises:
        SettingError: protected samples or labels do not fit the data set.
    """
    protection.check(data.num_samples)
    planner = Planner(
        method=method,
        seed=settings.seed,
        shuffled=data.shuffled,
        step_exponent=settings.step_exponent,
        protection=protection,
    )
    micro = settings.accumulation_steps
    return Clock(
        PlannedEpochs(planner=planner, accumulation_steps=micro),
        Budget(num_samples=data.num_samples, epochs=settings.epochs, visits=data.visits),
        accumulation_steps=micro,
        steps=settings.steps,
        log=log,
        opened=opened,
    )
