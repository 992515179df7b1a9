"""Runs without a model: made-up scores through the public loop, or method calls by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thresher import Plan, Pruner
from thresher.draws import Draws
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Epoch, Selection, Trace

EPOCHS = 12
"""Of a whole run; every method prunes in most of them."""


def losses(num_samples: int, epochs: int = EPOCHS, seed: int = 0) -> Tensor:
    """Losses of a training that goes well: float32, shape (epochs, n); they fall, and are noisy."""
    generator = torch.Generator().manual_seed(seed)
    hardness = torch.empty(num_samples).exponential_(generator=generator)
    noise = torch.randn(epochs, num_samples, generator=generator).mul_(0.5).exp_()
    fall = torch.arange(epochs, dtype=torch.float32).mul_(-0.1).exp_()
    return hardness * noise * fall[:, None]


def named(method: Method, losses: Tensor) -> dict[str, Tensor]:
    """Scores by every name the method asks for, the loss first."""
    return {name: score(name, losses) for name in ("loss", *method.needs)}


def score(name: str, losses: Tensor) -> Tensor:
    """What a model with such losses might score; with a broken loss, all else is broken too."""
    if name == "confidence":
        made = (-losses.abs()).exp()
    elif name == "correct":
        # Right four times of five, whatever the loss, as far as a method can tell.
        made = (losses * 1000 % 10 < 8).to(losses.dtype)
    else:
        return losses
    return made.where(losses.isfinite(), losses)


def epoch_of(pruner: Pruner, table: Tensor, batch_size: int = 8) -> Plan:
    """Train one epoch: its plan, scored batch by batch from the row of the table."""
    plan = pruner.plan(pruner.epoch)
    for ids in plan.ids.split(batch_size):
        pruner.observe(ids, named(pruner.method, table[plan.epoch][ids]))
    return plan


def run(
    method: Method, table: Tensor, *, epochs: int | None = None, seed: int = 0, batch_size: int = 8
) -> tuple[Pruner, list[Plan]]:
    """Train the first `epochs` of a run that is as long as the table."""
    pruner = Pruner(method, epochs=len(table), num_samples=table.shape[1], seed=seed)
    count = len(table) if epochs is None else epochs
    return pruner, [epoch_of(pruner, table, batch_size) for _ in range(count)]


@dataclass(frozen=True, eq=False)
class RelabelledDraws(Draws):
    """The draws of a data set whose sample i is called `new_id[i]`."""

    new_id: Tensor | None = None

    def uniform(self, num: int, purpose: str, dtype: torch.dtype = torch.float32) -> Tensor:
        assert self.new_id is not None
        values = super().uniform(num, purpose, dtype)
        return relabelled(values, self.new_id) if num == len(self.new_id) else values

    def permutation(self, num: int, purpose: str, among: Tensor | None = None) -> Tensor:
        assert self.new_id is not None
        assert num == len(self.new_id), "orders are of all samples"
        order = self.new_id[super().permutation(num, purpose)]
        return order if among is None else order[among[order]]

    def local_order(self, num: int, purpose: str) -> Tensor:
        assert self.new_id is not None
        return self.new_id[super().local_order(num, purpose)]


class CountedDraws(Draws):
    """Draws that remember for which purposes they were asked."""

    def generator(self, purpose: str) -> torch.Generator:
        asked.add(purpose)
        return super().generator(purpose)


asked: set[str] = set()


def relabelled(column: Tensor, new_id: Tensor) -> Tensor:
    """The column of a data set whose sample i is called `new_id[i]`."""
    new = torch.empty_like(column)
    new[new_id] = column
    return new


@dataclass
class ByHand:
    """A method driven by its own two functions, with any draws: what `Planner` and `Clock` do.

    Args:
        method: the method.
        table: losses, shape (epochs, n).
        draws: the draws of an epoch.
    """

    method: Method
    table: Tensor
    draws: Callable[[int], Draws] = lambda epoch: Draws(0, epoch)
    target: float | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.table.shape[1], self.method.columns(), self.method.scalars)
        self.number = 0

    def select(self) -> Selection:
        epoch = Epoch(number=self.number, draws=self.draws(self.number), target=self.target)
        return self.method.select(self.ledger, epoch).by_row()

    def plan(self) -> Plan:
        selection = self.select()
        order = self.draws(self.number).permutation(self.ledger.num_samples, "order")
        if not selection.kept.any():
            selection.kept[order[0]] = True
        ids = order[selection.kept[order]]
        given = selection.weights
        return Plan(
            epoch=self.number,
            ids=ids,
            weights=torch.ones(len(ids)) if given is None else given[ids],
            num_samples=self.ledger.num_samples,
            facts=dict(selection.facts),
        )

    def observe(self, plan: Plan, scores: Tensor, step: Tensor) -> None:
        """Close the epoch with these scores in plan order; step -1 means never scored."""
        if bool((step < 0).any()):
            scores = torch.where(step < 0, torch.nan, scores)
        named = {name: score(name, scores) for name in self.method.needs}
        self.method.observe(self.ledger, plan, Trace(scores=named, step=step))
        self.number += 1

    def refresh(self, plan: Plan) -> None:
        """Score by an extra forward whom the method asks for, as a close with a `score_fn` does."""
        ids = self.method.refreshed(self.ledger, plan)
        if ids is not None:
            found = named(self.method, self.table[plan.epoch][ids])
            self.method.observe_refreshed(self.ledger, ids, found)

    def train(self, batch_size: int = 8) -> Plan:
        """Plan an epoch and close it with the table's scores."""
        plan = self.plan()
        self.observe(plan, self.table[self.number][plan.ids], steps(len(plan), batch_size))
        self.refresh(plan)
        return plan


def steps(size: int, batch_size: int = 8) -> Tensor:
    """The optimizer step of each position of a plan."""
    return torch.arange(size, dtype=torch.int32) // batch_size
