"""How the epochs of a run begin: each planned as a whole, or outlined and chosen while trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final

from thresher.errors import SettingError
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.planned import PlannedProgress
from thresher.planning import Planner
from thresher.progress import Progress
from thresher.schedule import Budget
from thresher.settings import Data


class Epochs(Protocol):
    """Makes an epoch from what the run remembers: a pure function of (ledger, seed, epoch)."""

    @property
    def method(self) -> Method:
        """The rule."""
        ...

    @property
    def shuffled(self) -> bool:
        """Whether the order is random, or the ids ascending."""
        ...

    @property
    def batch_size(self) -> int | None:
        """The loader's batch size, if epochs depend on it and it is known."""
        ...

    def ordered(self, data: Data) -> Epochs:
        """Return the same epochs over data of this order and batch size."""
        ...

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return the ledger of a run that has not begun."""
        ...

    def begin(self, ledger: Ledger, budget: Budget, *, epoch: int, visits: int) -> Progress:
        """Return an epoch that is about to be trained, `visits` having been planned before it."""
        ...


def adapted(epochs: Epochs, data: Data, *, is_fixed: bool) -> Epochs:
    """Return the epochs for a loader, or refuse it if a loader or a plan has fixed them otherwise.

    Raises:
        SettingError: another order, or another batch size where epochs are counted in batches.
    """
    if is_fixed and data.shuffled != epochs.shuffled:
        raise SettingError(
            f"The run has shuffle={epochs.shuffled}, and now shuffle={data.shuffled}",
            "one order for the whole run",
            "Wrap the loader before asking for a plan, and build it as in the saved run",
        )
    had, now = epochs.batch_size, data.batch_size
    if is_fixed and None not in (had, now) and had != now:
        raise SettingError(
            f"The run has batches of {had} samples, and now of {now}",
            "one batch size, as the epochs of an online method are counted in batches",
            "Build the loader as in the saved run",
        )
    return epochs.ordered(data)


@final
@dataclass(frozen=True, kw_only=True)
class PlannedEpochs:
    """Epochs that are planned as a whole before they begin.

    Args:
        planner: makes the plans.
        accumulation_steps: micro-batches per optimizer step.
    """

    planner: Planner
    accumulation_steps: int = 1

    @property
    def method(self) -> Method:
        """The rule."""
        return self.planner.method

    @property
    def shuffled(self) -> bool:
        """Whether the order is a new permutation each epoch."""
        return self.planner.shuffled

    @property
    def batch_size(self) -> int | None:
        """None: a plan does not depend on how it is cut into batches."""
        return None

    def ordered(self, data: Data) -> PlannedEpochs:
        """Return the same epochs in this order."""
        return replace(self, planner=replace(self.planner, shuffled=data.shuffled))

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return what the method remembers before anything was observed."""
        return Ledger(num_samples, self.method.columns(), self.method.scalars)

    def begin(self, ledger: Ledger, budget: Budget, *, epoch: int, visits: int) -> PlannedProgress:
        """Return the epoch, planned."""
        plan = self.planner.plan(ledger, budget, epoch=epoch, visits=visits)
        return PlannedProgress(plan, self.method.needs, self.accumulation_steps)
