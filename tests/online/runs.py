"""Runs of online methods: over numbers with made-up scores, and a training script in small."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from loops import Numbers
from small_runs import copied, data
from thresher import Pruner
from thresher.online import OnlineMethod
from thresher.scores import logit_grad_norm, scoring


class Scores:
    """A score_fn over numbers: a score by id that falls as the run goes on; it keeps a record."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.time = 0

    def __call__(self, ids: Tensor) -> dict[str, Tensor]:
        self.seen.append(ids.tolist())
        score = torch.frac((ids + 1) * (self.time + 2) * 0.618034).float() + 0.01
        return {"loss": score, "logit_grad_norm": score**3}

    @property
    def flat(self) -> list[int]:
        return list(itertools.chain.from_iterable(self.seen))


def wrapped(
    method: OnlineMethod,
    num_samples: int = 50,
    batch_size: int = 4,
    *,
    epochs: int = 6,
    dataset: Any = None,
    settings: dict[str, Any] | None = None,
    **loader: Any,
) -> tuple[Pruner, Any, Scores]:
    """A pruner, its loader over numbers, and what scores them."""
    pruner = Pruner(method, epochs=epochs, **(settings or {}))
    given = {"shuffle": True, **loader}
    plain = DataLoader(dataset or Numbers(num_samples), batch_size, **given)
    scores = Scores()
    return pruner, pruner.wrap(plain, score_fn=scores), scores


def train(pruner: Pruner, batches: Any, scores: Scores | None = None) -> list[list[int]]:
    """Reduce every batch; return the ids of each, as the batches themselves tell them."""
    trained = []
    for batch in batches:
        pruner.reduce(batch.float() + 1)
        trained.append(batch.tolist())
        if scores is not None:
            scores.time += 1
    return trained


class Script:
    """A user's training script: a model with dropout and BatchNorm, momentum, a paced schedule.

    Everything of it that has state is in `state`; `trail` has what each micro-batch trained.
    """

    def __init__(
        self,
        method: OnlineMethod,
        *,
        epochs: int = 4,
        batch_size: int = 4,
        num_samples: int = 26,
        num_workers: int = 0,
        shuffle: bool = True,
        load_first: Any = None,
        **settings: Any,
    ) -> None:
        torch.manual_seed(5)
        self.model = nn.Sequential(
            nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.epochs = epochs
        plain = DataLoader(
            data(num_samples), batch_size, shuffle=shuffle, num_workers=num_workers, drop_last=False
        )
        self.accumulation_steps = settings.get("accumulation_steps", 1)
        steps = -(-len(plain) // self.accumulation_steps)
        self.pruner = Pruner(method, epochs=epochs, **settings)
        if load_first is not None:
            self.pruner.load_state_dict(load_first["pruner"])
        self.loader: Any = self.pruner.wrap(plain, score_fn=scoring(self.model, self.score))
        schedule = OneCycleLR(self.optimizer, 0.2, epochs=epochs, steps_per_epoch=steps)
        self.scheduler = self.pruner.pace(schedule)
        self.micro = 0
        self.trail: list[tuple[Any, ...]] = []
        if load_first is not None:
            self.load(load_first)

    @staticmethod
    def score(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        logits = model(x)
        return {
            "loss": F.cross_entropy(logits, y, reduction="none"),
            "logit_grad_norm": logit_grad_norm(logits, y),
        }

    def run(self) -> Iterator[Script]:
        """Train to the end, handing over after every micro-batch."""
        for epoch in range(self.pruner.epoch, self.epochs):
            num_batches = len(self.loader)
            for x, y in self.loader:
                self.micro += 1
                self.train(epoch, x, y, is_last=self.micro == num_batches)
                if self.micro == num_batches:
                    self.micro = 0
                yield self

    def train(self, epoch: int, x: Tensor, y: Tensor, *, is_last: bool) -> None:
        ids = self.loader.batch_ids
        loss = self.pruner.reduce(F.cross_entropy(self.model(x), y, reduction="none"))
        loss.backward()
        if is_last or self.micro % self.accumulation_steps == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()
        rate = self.optimizer.param_groups[0]["lr"]
        self.trail.append((epoch, ids.tolist(), loss.item(), rate))

    def state(self) -> dict[str, Any]:
        return copied(
            {
                "pruner": self.pruner.state_dict(),
                "model": self.model.state_dict(),
                "gradients": [p.grad for p in self.model.parameters()],
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "rng": torch.get_rng_state(),
                "micro": self.micro,
            }
        )

    def load(self, state: dict[str, Any]) -> None:
        state = copied(state)
        self.pruner.load_state_dict(state["pruner"])
        self.model.load_state_dict(state["model"])
        for parameter, gradient in zip(self.model.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        self.micro = state["micro"]
