"""How the epochs of a run begin: each planned as a whole, or outlined and chosen while trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import torch

from thresher.choosing import ChosenProgress
from thresher.dealt import DealtProgress
from thresher.errors import DatasetChangedError, NotIteratedError, SettingError
from thresher.grid import Grid
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.online._method import OnlineMethod
from thresher.outline import Outline
from thresher.owned import OwnedProgress, agree_to_plan
from thresher.parallel.exchange import Exchange
from thresher.parallel.layout import Layout
from thresher.parallel.team import Team
from thresher.planned import PlannedProgress
from thresher.planning import Planner
from thresher.population import EVERYONE, Population
from thresher.progress import Progress
from thresher.schedule import Budget, is_active, target
from thresher.settings import Data
from thresher.stream import Standing, Stream


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

    def dealt(self, team: Team) -> Epochs:
        """Return the same epochs for one of several ranks, cut as its loader cuts if it has one."""
        ...

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return the ledger of a run that has not begun."""
        ...

    def begin(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        epoch: int,
        visits: int,
        given: Mapping[str, Any] | None = None,
    ) -> Progress:
        """Return an epoch that is about to be trained, `visits` having been planned before it.

        `given` is its plan if it was made on shards that there are no more.
        """
        ...


def adapted(epochs: Epochs, data: Data, num_samples: int, *, is_fixed: bool) -> Epochs:
    """Return the epochs for a loader, or refuse it if a loader or a plan has fixed them otherwise.

    Raises:
        DatasetChangedError: the data set has another length than `num_samples`.
        SettingError: another order, or another batch size where epochs are counted in batches.
    """
    if data.num_samples != num_samples:
        raise DatasetChangedError(
            f"A data set of {data.num_samples} samples",
            f"{num_samples}, as this run began with",
            "Ids are positions in the data set; for a changed one start a new Pruner",
        )
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
        exchange: to the other ranks, if there are any.
        grid: how the loader of each rank cuts a plan; None below the loop.
        score_dtype: what the ledger stores scores as.
        population: all samples, and which of them are remembered here.
    """

    planner: Planner
    accumulation_steps: int = 1
    exchange: Exchange | None = None
    grid: Grid | None = None
    score_dtype: torch.dtype = torch.float32
    population: Population = EVERYONE

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

    def dealt(self, team: Team) -> PlannedEpochs:
        """Return the same epochs, of which this rank trains its part."""
        return replace(self, exchange=team.exchange, grid=team.grid, population=team.population)

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return what the method remembers before anything was observed."""
        return Ledger(
            num_samples,
            self.method.columns(),
            self.method.scalars,
            population=self.population,
            score_dtype=self.score_dtype,
        )

    def begin(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        epoch: int,
        visits: int,
        given: Mapping[str, Any] | None = None,
    ) -> Progress:
        """Return the epoch, planned; on shards by all ranks together.

        Raises:
            RanksDisagreeError: they are about to plan different epochs of their shards.
        """
        exchange, over = self.exchange, self.population
        if exchange is not None and over.shard.count > 1:
            protected = self.planner.protection.checksum
            same = {"epoch": epoch, "visits so far": visits, "protected samples": protected}
            agree_to_plan(exchange, self.grid, ledger, same)
        if given:
            plan = self.planner.again(given, ledger, epoch=epoch)
        else:
            plan = self.planner.plan(ledger, budget, epoch=epoch, visits=visits)
        names, micro = self.method.needs, self.accumulation_steps
        if exchange is None:
            return PlannedProgress(plan, names, micro)
        if over.shard.count == 1:
            return DealtProgress(plan, names, micro, exchange, self.grid)
        return OwnedProgress(plan, names, micro, exchange, self.grid, over)


@final
@dataclass(frozen=True, kw_only=True)
class ChosenEpochs:
    """Epochs of an online method: so many batches, of candidates that pass by.

    Args:
        method: the rule.
        seed: keys the orders of the candidates and every draw among them.
        shuffled: whether the orders are random, or the ids ascending.
        batch_size: of the loader; None while none is wrapped.
        step_exponent: γ, or None for the method's own weights, whose mean is about 1.
        max_weight: the largest of these that is left as it is; None clips none.
        exchange: to the other ranks, if there are any.
        grid: how the loader of each rank cuts an epoch of all samples.
    """

    method: OnlineMethod
    seed: int
    shuffled: bool = True
    batch_size: int | None = None
    step_exponent: float | None = None
    max_weight: float | None = None
    exchange: Exchange | None = None
    grid: Grid | None = None

    def dealt(self, team: Team) -> ChosenEpochs:
        """Return the same epochs, of which this rank chooses and trains its part."""
        return replace(self, exchange=team.exchange, grid=team.grid)

    def ordered(self, data: Data) -> ChosenEpochs:
        """Return the same epochs in this order and batch size."""
        batch_size = self.batch_size if data.batch_size is None else data.batch_size
        return replace(self, shuffled=data.shuffled, batch_size=batch_size)

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return what the method remembers before it saw a candidate."""
        method = self.method
        return Ledger(num_samples, method.columns(), method.scalars, method.memory())

    def begin(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        epoch: int,
        visits: int,
        given: Mapping[str, Any] | None = None,
    ) -> ChosenProgress:
        """Return the epoch, outlined: ⌊κn/b⌋ batches, or all samples where nothing is pruned."""
        size, batch = ledger.num_samples, self.batch_size
        if batch is None:
            raise NotIteratedError(
                f"The epochs of {type(self.method).__name__} are counted in batches",
                "a loader",
                "Call loader = pruner.wrap(loader, score_fn=...) first",
            )
        facts, kept, dealt = dict[str, float](), 1.0, None if self.exchange is None else self.grid
        if is_active(self.method, budget, epoch=epoch, visits=visits):
            share = target(self.method, budget, epoch=epoch, visits=visits)
            kept = self.method.kept if share is None else 1 - share
            facts = {"kept": kept} if share is None else {"kept": kept, "target": share}
        outline = Outline(
            epoch=epoch,
            num_batches=-(-size // batch) if dealt is None else dealt.num_batches(size),
            batch_size=batch,
            num_candidates=0,
            num_samples=size,
            size=size,
            facts=facts,
        )
        if kept < 1:
            outline = self._pruned(outline, kept)
        rank = 0 if dealt is None else dealt.rank
        stream = Stream(size, self.seed, self.shuffled, rank, self._world_size)
        standing = Standing.of(ledger)
        layout = None if dealt is None or outline.num_candidates else Layout(size, dealt)
        return ChosenProgress(outline, self.method, stream, standing, self.exchange, layout)

    @property
    def _world_size(self) -> int:
        return 1 if self.exchange is None else self.exchange.ranks.world_size

    def _pruned(self, outline: Outline, kept: float) -> Outline:
        size = outline.num_samples
        # Guards products such as 0.7 * 10 against falling just below their integer.
        visits = max(1, math.floor(kept * size + 1e-9))
        world = self._world_size
        batch = min(outline.batch_size, max(1, visits // world))
        num_batches = max(1, visits // (batch * world))
        wanted = max(batch, self.method.num_candidates(batch, kept))
        candidates = min(max(1, size // world), wanted)
        visits = num_batches * batch * world
        exponent = self.step_exponent or 0.0
        return replace(
            outline,
            num_batches=num_batches,
            batch_size=batch,
            num_candidates=candidates,
            size=visits,
            scale=(size / visits) ** exponent,
            max_weight=self.max_weight or math.inf,
            facts={**outline.facts, "candidates": candidates},
        )
