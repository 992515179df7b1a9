"""Streams whose samples say which they are, and loops over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from thresher import Method, Pruner


class Numbers(IterableDataset[Any]):
    """The numbers of `order`, each worker a part of its own; begins anew at each pass."""

    def __init__(self, order: Sequence[int], *, shared: bool = True) -> None:
        self.order, self.shared = list(order), shared
        self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        worker = get_worker_info()
        if worker is None or not self.shared:
            return map(self.sample, self.order)
        return map(self.sample, self.order[worker.id :: worker.num_workers])

    def sample(self, number: int) -> Any:
        return {"id": torch.tensor(number), "name": f"number {number}"}


class Batches(Numbers):
    """The same in batches that the data set makes."""

    def __init__(self, order: Sequence[int], size: int) -> None:
        super().__init__(order)
        self.size = size

    def __iter__(self) -> Iterator[Any]:
        samples = list(super().__iter__())
        for start in range(0, len(samples), self.size):
            part = samples[start : start + self.size]
            ids, names = ([sample[key] for sample in part] for key in ("id", "name"))
            yield {"id": torch.stack(ids), "name": names, "pair": (torch.stack(ids).numpy(), names)}


class Scores:
    """A score_fn: a score by number that falls as the run goes on; it keeps a record."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.time = 0

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        ids = ids_of(batch)
        self.seen.append(ids.tolist())
        score = torch.frac((ids + 1) * (self.time + 2) * 0.618034).float() + 0.01
        return {"loss": score, "logit_grad_norm": score**3}


def ids_of(batch: Any) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch["id"]


def loss_of(ids: Tensor, time: int) -> Tensor:
    """Losses with many different ranks, exact in float32, of which none is 0."""
    return torch.frac((ids + 1) * (time + 3) * 0.7548777).float() + 0.5


class Trained:
    """What one epoch trained: the ids of each batch, and the weighted mean of ones by id."""

    def __init__(self, pruner: Pruner, loader: Any, epoch: int, scores: Scores | None) -> None:
        self.batches: list[list[int]] = []
        self.means: list[float] = []
        for batch in loader:
            ids = ids_of(batch)
            losses, needs = loss_of(ids, epoch), set(pruner.method.needs)
            several = dict.fromkeys(needs, losses) if needs - {"loss", "logit_grad_norm"} else None
            self.means.append(pruner.reduce(losses, scores=several).item())
            self.batches.append(ids.tolist())
            if scores is not None:
                scores.time += 1
            if isinstance(batch, dict) and "name" in batch:
                assert [f"number {id_}" for id_ in ids.tolist()] == list(batch["name"])

    @property
    def ids(self) -> list[int]:
        return [id_ for batch in self.batches for id_ in batch]


def run(
    method: Method, dataset: Any, batch_size: int | None, *, epochs: int = 4, **asked: Any
) -> tuple[Pruner, Any, Scores]:
    """A pruner over a stream, its loader, and what scores."""
    settings = {key: asked.pop(key) for key in ("steps", "seed", "num_samples") if key in asked}
    wrap = {key: asked.pop(key) for key in ("ids", "steps_per_epoch") if key in asked}
    if batch_size is None:
        wrap["batch_size"] = asked.pop("size")
    scores = Scores()
    if method.family == "online":
        wrap["score_fn"] = scores
    pruner = Pruner(method, **({} if "steps" in settings else {"epochs": epochs}), **settings)
    return pruner, pruner.wrap(DataLoader(dataset, batch_size, **asked), **wrap), scores


def trained(
    pruner: Pruner, loader: Any, scores: Scores | None = None, *, epochs: int = 4
) -> list[Trained]:
    return [Trained(pruner, loader, epoch, scores) for epoch in range(pruner.epoch, epochs)]
