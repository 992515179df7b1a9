"""One training, epoch by epoch: what trains, an epoch by the clocks, and the metric after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from thresher.bench.images import whole_batch
from thresher.bench.suite import RunConfig
from thresher.bench.tasks import Data, Task
from thresher.diagnostics import SampleRecorder
from thresher.methods import Full, Method
from thresher.pruner import Pruner
from thresher.scores import scoring
from thresher.scores.scoring import BatchScores

Observe = Callable[[Any, Tensor, Tensor], None]
"""Called before each step with the batch's ids, the model's outputs and the targets."""

EVALUATION_BATCH = 500


@final
@dataclass(frozen=True)
class Parts:
    """What one run trains with; `fetched` and `scored` time the loader and the scoring forwards."""

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: Any
    loader: DataLoader[tuple[Tensor, Tensor]]
    scheduler: Any
    pruner: Pruner
    fetched: Stopwatch
    scored: Stopwatch
    kept: SampleRecorder


@final
class Stopwatch:
    """Adds up the host's seconds of what it is put around.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items; the time in which they are made counts, that of their use does not."""
        started = time.perf_counter()
        for item in items:
            self.seconds += time.perf_counter() - started
            yield item
            started = time.perf_counter()
        self.seconds += time.perf_counter() - started

    def timed(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function whose calls count."""

        def call(argument: Any) -> Any:
            started = time.perf_counter()
            value = function(argument)
            self.seconds += time.perf_counter() - started
            return value

        return call


@final
@dataclass(frozen=True)
class Spent:
    """Seconds of an epoch's training, by the wall clock and of the processor."""

    wall: float
    cpu: float


def prepare(config: RunConfig, task: Task, data: Data, method: Method) -> Parts:
    """Return everything a run needs before its first epoch."""
    # Layers draw their weights from the global stream; it is put back for whoever called.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = task.model.build()
    model.to(config.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pruner = Pruner(
        method,
        epochs=config.trained_epochs,
        seed=config.seed,
        step_exponent=None if isinstance(method, Full) else config.step_exponent,
    )
    training: Any = task.training_set(data, config.seed)
    plain = DataLoader(
        training,
        config.batch_size,
        shuffle=True,
        collate_fn=whole_batch,
        # Without one of its own, every epoch draws a number from the global stream.
        generator=torch.Generator().manual_seed(config.seed),
        drop_last=bool(config.drop_last),
    )
    peak = config.learning_rate
    if config.method == "fewer-epochs-scaled":
        peak *= config.epochs / config.trained_epochs
    optimizer = _optimizer(model, config, peak)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=len(plain) * config.trained_epochs,
        pct_start=config.warm_up,
        div_factor=10.0,
        # One thing varies over a run: the rate.
        cycle_momentum=False,
    )
    scored = Stopwatch()
    score_fn = _score_fn(model, task, method, config.device)
    return Parts(
        task=task,
        model=model,
        optimizer=optimizer,
        data=training,
        loader=pruner.wrap(plain, score_fn=None if score_fn is None else scored.timed(score_fn)),
        scheduler=pruner.pace(scheduler),
        pruner=pruner,
        fetched=Stopwatch(),
        scored=scored,
        kept=SampleRecorder(len(training)),
    )


def _optimizer(model: nn.Module, config: RunConfig, peak: float) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=peak, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=peak,
        momentum=config.momentum or 0.0,
        weight_decay=config.weight_decay,
        nesterov=True,
    )


def _score_fn(
    model: nn.Module, task: Task, method: Method, device: str
) -> Callable[[Any], BatchScores] | None:
    """Return how a batch is scored for a method that looks at samples it does not train."""

    def scores(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        inputs, targets = (part.to(device) for part in batch)
        return task.objective.scores(method.needs, model(inputs), targets)

    looks = method.family == "online" or type(method).refreshed is not Method.refreshed
    return scoring(model, scores) if looks else None


def train_epoch(parts: Parts, number: int, device: str, observe: Observe | None = None) -> Spent:
    """Train one epoch.

    Args:
        parts: of the run.
        number: of the epoch, from 0.
        device: where the model is.
        observe: sees every batch before its step.
    """
    started, cpu_started = clock(device), time.process_time()
    parts.data.start_epoch(number)
    model, optimizer, pruner, scheduler = (
        parts.model,
        parts.optimizer,
        parts.pruner,
        parts.scheduler,
    )
    objective = parts.task.objective
    needs = [name for name in pruner.method.needs if name != "loss"]
    model.train()
    for inputs, targets in parts.fetched.each(parts.loader):
        inputs, targets = inputs.to(device), targets.to(device)
        outputs = model(inputs)
        if observe is not None:
            observe(parts.loader.batch_ids, outputs, targets)  # pyright: ignore
        losses = objective.losses(outputs, targets)
        parts.kept.take(parts.loader.batch_ids, losses)  # pyright: ignore
        needed = pruner.method.needs
        scores = objective.scores(needed, outputs, targets, losses) if needs else None
        loss = pruner.reduce(losses, scores=scores)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    spent = Spent(clock(device) - started, time.process_time() - cpu_started)
    parts.kept.close_epoch()
    return spent


def evaluate(model: nn.Module, task: Task, data: Data, device: str) -> float:
    """Return the task's metric of a model on the test split, in evaluation mode."""
    batches = task.inputs.test_batches(data, EVALUATION_BATCH)
    return task.objective.evaluate(model, batches, device)


def clock(device: str) -> float:
    """Return the wall clock's seconds, once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
