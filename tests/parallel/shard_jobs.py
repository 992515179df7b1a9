"""What ranks with a shard each do in tests; their processes import this, so it only defines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from contracts.drive import losses, named
from loops import Numbers
from parallel import jobs
from small_runs import copied
from thresher import Method, Pruner
from thresher.accounting import Row
from thresher.errors import ThresherError


class Told(NamedTuple):
    """What a rank tells of an epoch: its plan, its batches, and what was said of it before."""

    ids: list[int]
    weights: list[float]
    planned: int
    length: int
    batches: list[list[int]]


class Refused(NamedTuple):
    """What a job raised, and after how long."""

    kind: str
    message: str
    seconds: float


def wrapped(
    method: Method, num_samples: int, batch_size: int, *, epochs: int, **options: Any
) -> tuple[Pruner, Any]:
    """A pruner of shards and its loader."""
    settings = {"shard": True, **options.pop("settings", {})}
    return jobs.wrapped(
        method, num_samples, batch_size, epochs=epochs, settings=settings, **options
    )


def epoch_of(pruner: Pruner, loader: Any, table: Tensor) -> Told:
    """Train one epoch on scores from a table by (epoch, id)."""
    length = len(loader)
    (epoch, _, _), batches = jobs.epoch_of(pruner, loader, table)
    plan = pruner.plan(epoch)
    return Told(plan.ids.tolist(), plan.weights.tolist(), plan.num_planned, length, batches)


def runs(
    rank: int, methods: list[Method], num_samples: int, batch_size: int, epochs: int, options: Any
) -> list[tuple[list[Told], list[Row]]]:
    """Of each method the epochs of a whole run, and its report."""
    table, found = losses(num_samples, epochs), []
    for method in methods:
        pruner, loader = wrapped(method, num_samples, batch_size, epochs=epochs, **dict(options))
        told = [epoch_of(pruner, loader, table) for _ in range(epochs)]
        found.append((told, pruner.report().rows))
    return found


class Step(NamedTuple):
    """What a rank trained in a step: samples that count, weights, and the mean gradient of all."""

    ids: list[int]
    weights: list[float]
    gradient: Tensor


def gradients(
    rank: int,
    method: Method,
    num_samples: int,
    batch_size: int,
    epochs: int,
    broken: float,
    options: Any,
) -> list[Step]:
    """Every step of a run whose spare samples' losses are `broken`."""
    pruner, loader = wrapped(method, num_samples, batch_size, epochs=epochs, **dict(options))
    linear, steps = jobs.model(), list[Step]()
    for epoch in range(epochs):
        plan = pruner.plan(epoch) if epoch == 0 else None
        for ids in loader:
            x, y = jobs.features(ids)
            each = F.cross_entropy(linear(x), y, reduction="none")
            made = named(method, (ids + 1).float())
            if plan is None:  # the epoch opens with its first batch, and is planned before
                progress = pruner._clock.provisional  # type: ignore[union-attr]
                plan = progress.plan  # type: ignore[union-attr]
            weights = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))  # type: ignore[union-attr]
            counts = torch.tensor([id_ in weights for id_ in ids.tolist()])
            each = torch.where(counts, each, each + broken)
            scores = {name: torch.where(counts, value, broken) for name, value in made.items()}
            linear.zero_grad()
            pruner.reduce(each, scores=scores).backward()
            gradient = torch.cat([p.grad.reshape(-1) for p in linear.parameters()])  # type: ignore[union-attr]
            dist.all_reduce(gradient)
            kept = ids[counts].tolist()
            mean = gradient / dist.get_world_size()
            steps.append(Step(kept, [weights[id_] for id_ in kept], mean))
    row = pruner.report().rows[-1]
    assert (row.non_finite, row.trained + row.dropped) == (0, row.planned)
    return steps


def all_of(
    rank: int, calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]
) -> dict[str, Any]:
    """Many jobs in one launch: what each returns, or its refusal, which all ranks have to share."""
    found: dict[str, Any] = {}
    for name, (job, arguments) in calls.items():
        start = time.perf_counter()
        try:
            found[name] = job(rank, *arguments)
        except ThresherError as error:
            seconds = time.perf_counter() - start
            found[name] = Refused(type(error).__name__, str(error), seconds)
        dist.barrier()
    return found


def refreshed(rank: int, method: Method, num_samples: int, batch_size: int, epochs: int) -> Any:
    """A run with a score function, and how many samples it was called for, by call."""
    table, calls = losses(num_samples, epochs), list[int]()
    pruner = Pruner(method, epochs=epochs, shard=True)

    def score(ids: Tensor) -> dict[str, Tensor]:
        calls.append(len(ids))
        return named(method, table[pruner.epoch - 1][ids])

    plain = DataLoader(Numbers(num_samples), batch_size, shuffle=True)
    loader = pruner.wrap(plain, score_fn=score)
    told = [epoch_of(pruner, loader, table) for _ in range(epochs)]
    return told, [row.extra_forwards for row in pruner.report().rows], calls


Trail = list[tuple[int, list[int], list[float]]]
"""What a rank trained in order: of each micro-batch the epoch, the ids, and what each counts.

That is the derivative by each loss; the loss itself may differ in its last bit, by where in memory
the batch lies.
"""


def walk(pruner: Pruner, loader: Any, table: Tensor, stop: int | None) -> Trail:
    """Train so many micro-batches, or to the end of the run."""
    trail: Trail = []
    for epoch in range(pruner.epoch, len(table)):
        for ids in loader:
            scores = named(pruner.method, table[epoch][ids])
            each = scores["loss"].clone().requires_grad_()
            pruner.reduce(each, scores=scores).backward()
            trail.append((epoch, ids.tolist(), each.grad.tolist()))  # type: ignore[union-attr]
            if len(trail) == stop:
                return trail
    return trail


def resumes(
    rank: int,
    method: Method,
    size: int,
    batch: int,
    epochs: int,
    stops: list[int],
    folder: str,
    settings: Any = None,
) -> list[Any]:
    """The whole run; and of every stop the states there, and what is trained from each of them."""
    table, made = losses(size, epochs), (method, size, batch)
    options = {"epochs": epochs, "settings": settings or {}}
    found: list[Any] = [walk(*wrapped(*made, **options), table, None)]
    for stop in stops:
        pruner, loader = wrapped(*made, **options)
        walk(pruner, loader, table, stop)
        states = {"own": copied(pruner.state_dict()), "whole": pruner.state_dict(gather=True)}
        states["whole"] = copied(states["whole"])
        path = f"{folder}/{type(method).__name__}-{stop}"
        dcp.save({"pruner": pruner}, checkpoint_id=path)
        rests = {}
        for name in ("own", "whole", "dcp"):
            pruner, loader = wrapped(*made, **options)
            walk(pruner, loader, table, 3)  # it may have come elsewhere
            if name == "dcp":
                dcp.load({"pruner": pruner}, checkpoint_id=path)
            else:
                pruner.load_state_dict(copied(states[name]))
            rests[name] = walk(pruner, loader, table, None)
        found.append((states, rests))
    return found


def continues(
    rank: int, method: Method, size: int, batch: int, epochs: int, state: Any, options: Any
) -> Any:
    """The epoch that a state is followed by, what is trained from there, and the rows."""
    table = losses(size, epochs)
    pruner, loader = wrapped(method, size, batch, epochs=epochs)
    pruner.load_state_dict(copied(state), **options)
    # Saved before the next epoch begins: the plan in progress is one of other shards.
    again, begun = copied(pruner.state_dict()), pruner.epoch
    other, other_loader = wrapped(method, size, batch, epochs=epochs)
    other.load_state_dict(again)
    trail = walk(pruner, loader, table, None)
    if not options:
        assert walk(other, other_loader, table, None) == trail
    return begun, trail, pruner.report().rows
