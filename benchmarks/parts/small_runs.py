"""Small networks on real data, trained in seconds, with a hook before each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thresher
from thresher import scores
from thresher.bench.images import channel_values, normalised
from thresher.bench.tasks import task
from thresher.methods import Method
from thresher.plan import Plan


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
        title="Fashion-MNIST: the first 6,000 samples, perceptron 784-32-10",
        samples=6000,
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
    images = origin.load(None)
    mean, std = channel_values(origin.mean), channel_values(origin.std)
    return Data(normalised(images.train_images[:size], mean, std), images.train_labels[:size])


def losses_of(model: Callable[..., Any], batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


Step = Callable[[int, Tensor, dict[str, Tensor]], None]
"""Called after each step with the epoch, the ids and their scores."""


def train(
    setup: Setup,
    data: Data,
    method: Method,
    seed: int,
    *,
    before_epoch: Callable[[int, nn.Module], None] = lambda *_: None,
    after_step: Step = lambda *_: None,
    also: Collection[str] = (),
) -> list[Plan]:
    """Train a run with a cosine schedule, and return its plans; `also` names more scores."""
    model = setup.build(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=setup.learning_rate, momentum=0.9, weight_decay=5e-4
    )
    pruner = thresher.Pruner(method, epochs=setup.epochs, num_samples=len(data.y), seed=seed)
    plans: list[Plan] = []
    for epoch in range(setup.epochs):
        share = (1 + math.cos(math.pi * epoch / setup.epochs)) / 2
        optimizer.param_groups[0]["lr"] = setup.learning_rate * share
        plan = pruner.plan(epoch)
        plans.append(plan)
        before_epoch(epoch, model)
        for start in range(0, len(plan), setup.batch_size):
            part = slice(start, start + setup.batch_size)
            ids = plan.ids[part]
            logits = model(data.x[ids])
            loss = F.cross_entropy(logits, data.y[ids], reduction="none")
            wanted = ("loss", *method.needs, *also)
            seen = scores.named(wanted, logits.detach(), data.y[ids], loss)
            pruner.observe(ids, {name: seen[name] for name in ("loss", *method.needs)})
            after_step(epoch, ids, seen)
            optimizer.zero_grad()
            (plan.weights[part] * loss).mean().backward()
            optimizer.step()
    return plans
