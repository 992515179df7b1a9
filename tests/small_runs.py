"""A training script in small, that can be stopped anywhere; and the methods to run it with."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

import thresher
from thresher import Method, Pruner
from thresher.scores import named, scoring

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "EpsilonGreedy": [{"prune_ratio": 0.4, "period": 2}],
    "InfoBatch": [{"prune_ratio": 0.2}],
    "KAKURENBO": [{"prune_ratio": 0.3, "tau": 0.4}],
    "Omission": [{"sampling": "bernoulli", "prune_ratio": 0.4}],
    "OrderDP": [{"prune_ratio": 0.4}],
    "RandomPruning": [{"mode": "cycle"}],
    "RePB": [{"prune_ratio": 0.4, "window": 2}, {"rho": 0.9, "window": None}],
    "SeTa": [{"prune_ratio": 0.4}],
    "UCB": [{"period": 2}],
}


def every_method() -> list[Method]:
    """Each exported method as its defaults have it, and variants that keep other state."""
    exported = (getattr(thresher, name) for name in thresher.__all__)
    classes = [kind for kind in exported if isinstance(kind, type)]
    found = [kind for kind in classes if issubclass(kind, Method) and kind is not Method]
    return [kind(**v) for kind in found for v in ({}, *VARIANTS.get(kind.__name__, ()))]


def data(num_samples: int = 22, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_samples, 3, generator=generator)
    return TensorDataset(x, torch.randint(3, (num_samples,), generator=generator))


def copied(state: Any) -> Any:
    """What a file would give back: saved by torch.save, loaded with weights_only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two nested states differ, to the bit; NaN equals NaN; seconds are left out."""
    if path.endswith("rows"):
        a, b = a[:, :-3], b[:, :-3]  # the three fields in seconds
    if isinstance(a, dict) and isinstance(b, dict):
        both = [d for k in a.keys() & b.keys() for d in differences(a[k], b[k], f"{path}/{k}")]
        return both + [f"{path}/{key} in one" for key in a.keys() ^ b.keys()]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [d for k in range(len(a)) for d in differences(a[k], b[k], f"{path}/{k}")]
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        is_same = a.dtype == b.dtype and torch.equal(a.nan_to_num(1e30), b.nan_to_num(1e30))
    else:
        is_same = type(a) is type(b) and a == b
    return [] if is_same else [f"{path}: {a} != {b}"]


class Script:
    """A user's training script: model with dropout, momentum, a paced schedule, the pruner.

    Everything of it that has state is in `state`; `trail` has what each micro-batch trained.
    """

    def __init__(
        self,
        method: Method,
        *,
        epochs: int = 5,
        batch_size: int = 4,
        drop_last: bool = False,
        num_workers: int = 0,
        shuffle: bool = True,
        load_first: Any = None,
        dropout: float = 0.2,
        num_samples: int = 22,
        **settings: Any,
    ) -> None:
        torch.manual_seed(5)
        self.model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.epochs = epochs
        plain = DataLoader(
            data(num_samples),
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=num_workers,
        )
        self.accumulation_steps = settings.get("accumulation_steps", 1)
        steps = -(-len(plain) // self.accumulation_steps)
        self.pruner = Pruner(method, epochs=epochs, **settings)
        if load_first is not None:
            self.pruner.load_state_dict(load_first["pruner"])
        self.loader = self.pruner.wrap(plain, score_fn=scoring(self.model, self.score))
        schedule = OneCycleLR(self.optimizer, 0.2, epochs=epochs, steps_per_epoch=steps)
        self.scheduler = self.pruner.pace(schedule)
        self.micro = 0
        self.trail: list[tuple[Any, ...]] = []
        if load_first is not None:
            self.load(load_first)

    def score(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """For methods that look again at what they left out."""
        logits = model(batch[0])
        losses = F.cross_entropy(logits, batch[1], reduction="none")
        return dict(named(self.pruner.method.needs, logits, batch[1], losses))

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
        logits = self.model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        needs = self.pruner.method.needs
        scores = None if set(needs) <= {"loss"} else named(needs, logits, y, losses)
        ids = self.loader.batch_ids  # type: ignore[attr-defined]
        loss = self.pruner.reduce(losses, scores=scores)
        loss.backward()
        weights = self.pruner.plan(epoch).weights
        if is_last or self.micro % self.accumulation_steps == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()
        rate = self.optimizer.param_groups[0]["lr"]
        self.trail.append((epoch, ids.tolist(), loss.item(), weights.sum().item(), rate))

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
