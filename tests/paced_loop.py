"""A training loop with a paced scheduler, every scheduler of torch, and epochs of given sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import optim
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from thresher import Method, Pruner
from thresher.ledger import Ledger
from thresher.methods import Reference
from thresher.plan import Epoch, Selection

N, EPOCHS = 12, 5
SIZES = (12, 5, 9, 1, 7)


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Epochs of given sizes, and a learning-rate factor for each."""

    sizes: tuple[int, ...] = SIZES
    factors: tuple[float, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[Reference] = Reference(title="", authors="", year=0)

    def select(self, ledger: Ledger, epoch: Epoch) -> Selection:
        kept = torch.zeros(ledger.num_samples, dtype=torch.bool)
        kept[: self.sizes[epoch.number]] = True
        factor = self.factors[epoch.number] if self.factors else 1.0
        return Selection(kept=kept, learning_rate_factor=factor)


def sgd(**settings: Any) -> Optimizer:
    groups = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": [groups[0]]}, {"params": [groups[1]], "lr": 0.03}]  # type: ignore[assignment]
    return optim.SGD(groups, **{"lr": 0.1, "momentum": 0.9, **settings})


Built = Callable[[Optimizer, int], LRScheduler]
SCHEDULERS: dict[type, Built] = {
    lr_scheduler.LambdaLR: lambda o, total: lr_scheduler.LambdaLR(o, lambda s: 1 / (1 + s)),
    lr_scheduler.MultiplicativeLR: lambda o, total: lr_scheduler.MultiplicativeLR(
        o, lambda s: 0.9 + 0.01 * (s % 7)
    ),
    lr_scheduler.StepLR: lambda o, total: lr_scheduler.StepLR(o, 7, gamma=0.5),
    lr_scheduler.MultiStepLR: lambda o, total: lr_scheduler.MultiStepLR(o, [5, 20, 20, 33]),
    lr_scheduler.ConstantLR: lambda o, total: lr_scheduler.ConstantLR(o, 0.3, total_iters=17),
    lr_scheduler.LinearLR: lambda o, total: lr_scheduler.LinearLR(o, 0.1, total_iters=25),
    lr_scheduler.ExponentialLR: lambda o, total: lr_scheduler.ExponentialLR(o, 0.97),
    lr_scheduler.SequentialLR: lambda o, total: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, 0.1, total_iters=10),
            lr_scheduler.CosineAnnealingLR(o, max(1, total - 10)),
        ],
        milestones=[10],
    ),
    lr_scheduler.PolynomialLR: lambda o, total: lr_scheduler.PolynomialLR(o, total, power=2.0),
    lr_scheduler.CosineAnnealingLR: lambda o, total: lr_scheduler.CosineAnnealingLR(o, total),
    lr_scheduler.ChainedScheduler: lambda o, total: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, total_iters=6), lr_scheduler.ExponentialLR(o, 0.95)], o
    ),
    lr_scheduler.CyclicLR: lambda o, total: lr_scheduler.CyclicLR(
        o, 0.01, 0.2, step_size_up=9, mode="triangular2"
    ),
    lr_scheduler.CosineAnnealingWarmRestarts: lambda o, total: (
        lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=8, T_mult=2)
    ),
    lr_scheduler.OneCycleLR: lambda o, total: lr_scheduler.OneCycleLR(
        o, [0.5, 0.2], total_steps=total
    ),
}
every_scheduler = pytest.mark.parametrize("kind", SCHEDULERS, ids=lambda kind: kind.__name__)


def rates(optimizer: Optimizer) -> tuple[float, ...]:
    """Learning rates and momenta, which some schedulers cycle too."""
    groups = optimizer.param_groups
    return tuple(float(g["lr"]) for g in groups) + tuple(g.get("momentum", 0) for g in groups)


def bare(kind: type, steps: int, epochs: int = EPOCHS) -> list[tuple[float, ...]]:
    """The designed curve: the rates before each step of the unpruned run, and after the last."""
    optimizer = sgd()
    scheduler = SCHEDULERS[kind](optimizer, steps * epochs)
    curve = [rates(optimizer)]
    for _ in range(steps * epochs):
        optimizer.step()
        scheduler.step()
        curve.append(rates(optimizer))
    return curve


class Loop:
    """A training loop over batches of one sample; `ends` has the rates at each epoch's end."""

    def __init__(
        self,
        method: Method,
        build: Built,
        *,
        per: Any = "step",
        breaks: Sequence[int] = (),
        optimizer: Optimizer | None = None,
        drop_last: bool = False,
        batch_size: int = 1,
        epochs: int = EPOCHS,
        **settings: Any,
    ) -> None:
        self.epochs = epochs
        self.pruner = Pruner(method, epochs=epochs, **settings)
        plain = DataLoader(torch.zeros(N, 1), batch_size, shuffle=True, drop_last=drop_last)
        self.loader = self.pruner.wrap(plain)
        self.optimizer = optimizer or sgd()
        self.micro = settings.get("accumulation_steps", 1)
        self.full = -(-len(plain) // self.micro)
        total = epochs if per == "epoch" else epochs * self.full
        self.scheduler = self.pruner.pace(build(self.optimizer, total), per=per)
        self.per, self.breaks = per, dict(enumerate(breaks))
        self.used: list[tuple[float, ...]] = []
        self.ends: list[tuple[float, ...]] = []

    def steps(self) -> Iterator[None]:
        first = self.pruner.epoch
        for epoch in range(first, self.epochs):
            batches: Any = iter(self.loader)
            # After a load, a part of the first epoch is done already.
            done = len(self.loader) - len(batches) if epoch == first else 0
            num_batches = done + len(batches)
            for k, batch in enumerate(batches, start=done):
                self.pruner.reduce(batch.sum(1))
                if (k + 1) % self.micro == 0 or k + 1 == num_batches:
                    self.used.append(rates(self.optimizer))
                    self.optimizer.step()
                    if self.per == "step":
                        self.scheduler.step()
                yield
                if k + 1 == self.breaks.get(epoch):
                    break
            if self.per == "epoch":
                self.scheduler.step()
            self.ends.append(rates(self.optimizer))

    def run(self) -> Loop:
        for _ in self.steps():
            pass
        return self
