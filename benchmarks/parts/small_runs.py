"""Small networks on real data, trained in seconds, with hooks before and after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thresher import scores
from thresher.bench.images import channel_values, normalised
from thresher.bench.tasks import task
from thresher.ledger import Ledger
from thresher.methods import Method
from thresher.plan import Plan, Trace
from thresher.planning import Planner
from thresher.schedule import Budget


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A perceptron on the beginning of a task's training split.

    Args:
        title: in tables.
        samples: used of the training split.
        widths: of the layers, inputs and classes included.
        batch_size: of training.
    """

    title: str
    samples: int
    widths: tuple[int, ...]
    batch_size: int
    epochs: int = 30
    learning_rate: float = 0.05

    def build(self, seed: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for narrow, wide in zip(self.widths, self.widths[1:], strict=False):
                layers += [nn.Linear(narrow, wide), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


SETUPS = {
    "digits": Setup(
        title="digits (scikit-learn): 899 samples, perceptron 64-32-10",
        samples=899,
        widths=(64, 32, 10),
        batch_size=32,
    ),
    "fashion-mnist": Setup(
        title="Fashion-MNIST: the first 4,000 samples, perceptron 784-32-10",
        samples=4000,
        widths=(784, 32, 10),
        batch_size=64,
    ),
}


@dataclass(frozen=True)
class Data:
    x: Tensor
    y: Tensor


def load(name: str) -> Data:
    origin, size = task(name), SETUPS[name].samples
    images: Any = origin.load(None)
    inputs: Any = origin.inputs
    mean, std = channel_values(inputs.mean), channel_values(inputs.std)
    return Data(normalised(images.train_images[:size], mean, std), images.train_labels[:size])


def losses_of(model: Callable[..., Any], batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


Scores = dict[str, Tensor]
"""Name -> one value a sample."""


class Driven:
    """A method driven epoch by epoch, as the clock of a pruner does it.

    Attributes:
        ledger: what the method remembers.
    """

    def __init__(
        self,
        method: Method,
        num_samples: int,
        epochs: int,
        seed: int,
        score_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.method = method
        self.ledger = Ledger(num_samples, method.columns(), method.scalars, score_dtype=score_dtype)
        self._planner = Planner(method=method, seed=seed)
        self._budget = Budget(num_samples=num_samples, epochs=epochs)
        self._visits = 0

    def plan(self, epoch: int) -> Plan:
        plan = self._planner.plan(self.ledger, self._budget, epoch=epoch, visits=self._visits)
        self._visits += len(plan)
        return plan

    def close(self, plan: Plan, trace: Trace, look: Callable[[Tensor], Scores]) -> None:
        """Show the epoch's scores, and those of the samples the method wants to look at again."""
        self.method.observe(self.ledger, plan, trace)
        ids = self.method.refreshed(self.ledger, plan)
        if ids is not None:
            self.method.observe_refreshed(self.ledger, ids, look(ids))
        self.ledger.settle()


def train(
    setup: Setup,
    data: Data,
    method: Method,
    seed: int,
    *,
    before_epoch: Callable[[nn.Module], None] = lambda _: None,
    after_epoch: Callable[[Plan, Trace], None] = lambda *_: None,
    also: Collection[str] = (),
) -> list[Plan]:
    """Train a run with a cosine schedule, and return its plans.

    Args:
        setup: the network and how it is trained.
        data: what it is trained on.
        method: what is trained.
        seed: of the initial weights, the order and the selections.
        before_epoch: called with the network.
        after_epoch: called with the plan and its scores.
        also: scores for `after_epoch` that the method does not need.
    """
    model = setup.build(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=setup.learning_rate, momentum=0.9, weight_decay=5e-4
    )
    driven = Driven(method, len(data.y), setup.epochs, seed)
    names = ("loss", *method.needs, *also)

    @torch.no_grad()
    def look(ids: Tensor) -> Scores:
        return scores.named(names, model(data.x[ids]), data.y[ids])

    plans: list[Plan] = []
    for epoch in range(setup.epochs):
        plan = driven.plan(epoch)
        plans.append(plan)
        share = (1 + math.cos(math.pi * epoch / setup.epochs)) / 2
        factor = share * plan.learning_rate_factor
        optimizer.param_groups[0]["lr"] = setup.learning_rate * factor
        before_epoch(model)
        seen: list[Scores] = []
        for start in range(0, len(plan), setup.batch_size):
            part = slice(start, start + setup.batch_size)
            ids = plan.ids[part]
            logits = model(data.x[ids])
            loss = F.cross_entropy(logits, data.y[ids], reduction="none")
            seen.append(scores.named(names, logits.detach(), data.y[ids], loss))
            optimizer.zero_grad()
            (plan.weights[part] * loss).mean().backward()
            optimizer.step()
        trace = Trace(
            scores={name: torch.cat([each[name] for each in seen]) for name in names},
            step=torch.arange(len(plan), dtype=torch.int32) // setup.batch_size,
        )
        driven.close(plan, trace, look)
        after_epoch(plan, trace)
    return plans
