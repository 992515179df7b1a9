"""One training, epoch by epoch: what trains, an epoch by the clocks, and its test accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from thresher.bench.images import Images, TrainingSet, channel_values, normalised, whole_batch
from thresher.bench.suite import RunConfig
from thresher.bench.tasks import Task
from thresher.methods import Full, Method
from thresher.pruner import Pruner
from thresher.scores import named, scoring
from thresher.scores.scoring import BatchScores

Observe = Callable[[Any, Tensor, Tensor], None]
"""Called before each step with the batch's ids, its logits and its labels."""

EVALUATION_BATCH = 500


@final
@dataclass(frozen=True)
class Parts:
    """What one run trains with."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: TrainingSet
    loader: DataLoader[tuple[Tensor, Tensor]]
    scheduler: Any
    pruner: Pruner


@final
@dataclass(frozen=True)
class Spent:
    """Seconds of an epoch's training, by the wall clock and of the processor."""

    wall: float
    cpu: float


def prepare(config: RunConfig, task: Task, images: Images, method: Method) -> Parts:
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
    data = task.training_set(images, config.seed)
    plain = DataLoader(
        data,
        config.batch_size,
        shuffle=True,
        collate_fn=whole_batch,
        # Without one of its own, every epoch draws a number from the global stream.
        generator=torch.Generator().manual_seed(config.seed),
    )
    peak = config.learning_rate
    if config.method == "fewer-epochs-scaled":
        peak *= config.epochs / config.trained_epochs
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=peak,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=len(plain) * config.trained_epochs,
        pct_start=config.warm_up,
        div_factor=10.0,
        # One thing varies over a run: the rate.
        cycle_momentum=False,
    )
    loader = pruner.wrap(plain, score_fn=_score_fn(model, method, config.device))
    return Parts(model, optimizer, data, loader, pruner.pace(scheduler), pruner)


def _score_fn(model: nn.Module, method: Method, device: str) -> Callable[[Any], BatchScores] | None:
    """Return how a batch is scored for a method that looks at samples it does not train."""

    def scores(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = (part.to(device) for part in batch)
        return named(method.needs, model(images), labels)

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
    needs = [name for name in pruner.method.needs if name != "loss"]
    model.train()
    for images, labels in parts.loader:
        images, labels = images.to(device), labels.to(device)
        logits = model(images)
        if observe is not None:
            observe(parts.loader.batch_ids, logits, labels)  # pyright: ignore
        losses = F.cross_entropy(logits, labels, reduction="none")
        scores = named(pruner.method.needs, logits, labels, losses) if needs else None
        loss = pruner.reduce(losses, scores=scores)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return Spent(clock(device) - started, time.process_time() - cpu_started)


def accuracy(model: nn.Module, task: Task, images: Images, device: str) -> float:
    """Return the percentage of test images that the model labels right, in evaluation mode."""
    mean, std = channel_values(task.mean), channel_values(task.std)
    model.eval()
    right = 0
    with torch.inference_mode():
        batches = zip(
            images.test_images.split(EVALUATION_BATCH),
            images.test_labels.split(EVALUATION_BATCH),
            strict=True,
        )
        for pixels, labels in batches:
            guesses = model(normalised(pixels, mean, std).to(device)).argmax(dim=1)
            right += int((guesses == labels.to(device)).sum())
    return 100 * right / len(images.test_labels)


def clock(device: str) -> float:
    """Return the wall clock's seconds, once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
