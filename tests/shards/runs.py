"""Methods on shards beside the same methods on all samples, in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contracts.drive import named, steps
from contracts.found import METHODS
from thresher import (
    HistoricalRanking,
    HistoricalReplacement,
    Omission,
    PersistentImportance,
    Plan,
    RandomWithinBatch,
    RePB,
)
from thresher.draws import Draws
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Selection, Trace
from thresher.planning import Planner
from thresher.population import Population
from thresher.schedule import Budget
from thresher.shard import Shard


def walks_an_order(method: Method) -> bool:
    """Whether its draws follow an order of the samples, which each shard has of its own."""
    if isinstance(method, Omission):
        return method.sampling == "systematic" or method.large_batch is not None
    ordered = (PersistentImportance, HistoricalRanking, HistoricalReplacement, RandomWithinBatch)
    # A rule of the user's is given each shard's part of a window.
    return isinstance(method, ordered) or (isinstance(method, RePB) and method.rule is not None)


BY_SAMPLE = [method for method in METHODS if not walks_an_order(method)]
"""Methods that choose by what they remember of a sample, and by random numbers of each."""


@dataclass(frozen=True, eq=False)
class PartOfDraws(Draws):
    """The draws of all samples, of which a shard takes those of its own."""

    shard: Shard = field(default_factory=Shard)
    num_samples: int = 0

    def uniform(self, num: int, purpose: str, dtype: torch.dtype = torch.float32) -> Tensor:
        assert num == self.shard.num_rows(self.num_samples), "numbers are of a shard's rows"
        everybody = Draws(self.seed, self.epoch).uniform(self.num_samples, purpose, dtype)
        return everybody[self.shard.index :: self.shard.count].contiguous()

    @property
    def shared(self) -> Draws:
        return Draws(self.seed, self.epoch)


def part(values: Tensor, shard: Shard) -> Tensor:
    """What a shard has of values by id."""
    return values[shard.index :: shard.count].clone()


def split(ledger: Ledger, method: Method, population: Population) -> Ledger:
    """The shard's ledger of what a whole one remembers."""
    new = Ledger(ledger.num_samples, method.columns(), method.scalars, population=population)
    for name, column in ledger.columns.items():
        new[name].copy_(part(column, population.shard))
    new.scalars = dict(ledger.scalars)
    return new


def dealt(plan: Plan, trace: Trace, shard: Shard) -> tuple[Plan, Trace]:
    """A shard's part of a plan for all, and of its scores."""
    own = torch.from_numpy(shard.own(plan.ids.numpy()))
    given = Plan(
        epoch=plan.epoch,
        ids=plan.ids[own],
        weights=plan.weights[own],
        num_samples=plan.num_samples,
        scale=plan.scale,
        facts=plan.facts,
        shard=shard,
    )
    scores = {name: score[own] for name, score in trace.scores.items()}
    return given, Trace(scores=scores, step=trace.step[own])


@dataclass
class Whole:
    """A run of all samples by hand: the ledger before each epoch, its selection, plan and trace."""

    method: Method
    table: Tensor
    target: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        size = self.table.shape[1]
        self.ledgers = [Ledger(size, self.method.columns(), self.method.scalars)]
        self.selections = list[Selection]()
        self.plans = list[Plan]()
        self.traces = list[Trace]()
        for number in range(len(self.table)):
            self._train(number, self.ledgers[-1].copy())

    def _train(self, number: int, ledger: Ledger) -> None:
        epoch = Epoch(number=number, draws=Draws(self.seed, number), target=self.target)
        selection = self.method.select(ledger, epoch)
        if not selection.kept.any():
            selection.kept[number % len(selection.kept)] = True
        ids = epoch.order(selection.kept)
        weights = torch.ones(len(ids)) if selection.weights is None else selection.weights[ids]
        plan = Plan(
            epoch=number,
            ids=ids,
            weights=weights,
            num_samples=ledger.num_samples,
            facts=selection.facts,
        )
        scores = named(self.method, self.table[number][ids])
        given = {name: scores[name] for name in self.method.needs}
        trace = Trace(scores=given, step=steps(len(ids)))
        self.method.observe(ledger, plan, trace)
        self.ledgers.append(ledger)
        self.selections.append(selection)
        self.plans.append(plan)
        self.traces.append(trace)


def planned(
    method: Method,
    table: Tensor,
    population: Population,
    *,
    epochs: int,
    batch_size: int = 4,
    closed: Callable[[Plan], None] | None = None,
    **given: Any,
) -> list[Plan]:
    """Plans of a run on a shard that makes its own and trains it in steps of so many samples."""
    size = table.shape[1]
    planner = Planner(method=method, seed=0, **given)
    ledger = Ledger(size, method.columns(), method.scalars, population=population)
    budget, visits, plans = Budget(num_samples=size, epochs=len(table)), 0, list[Plan]()
    for number in range(epochs):
        plan = planner.plan(ledger, budget, epoch=number, visits=visits)
        scores = named(method, table[number][plan.ids])
        given_scores = {name: scores[name] for name in method.needs}
        trace = Trace(scores=given_scores, step=steps(len(plan), batch_size))
        method.observe(ledger, plan, trace)
        visits += plan.num_planned
        plans.append(plan)
        if closed is not None:
            closed(plan)
    return plans


def united(parts: list[Tensor]) -> Tensor:
    """Values by id from those of every shard's rows."""
    whole = np.empty(sum(map(len, parts)), dtype=parts[0].numpy().dtype)
    for index, values in enumerate(parts):
        whole[index :: len(parts)] = values.numpy()
    return torch.from_numpy(whole)
