"""One run: a configuration in, a record of what it cost and reached out."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from thresher.bench.catalogue import build_method
from thresher.bench.images import Images, TrainingSet, channel_values, normalised, whole_batch
from thresher.bench.suite import Row, RunConfig
from thresher.bench.tasks import Task
from thresher.errors import SettingError, ThresherWarning
from thresher.methods import Full, Method
from thresher.pruner import Pruner
from thresher.scores import named, scoring

Progress = Callable[[int, float], None]
"""Called after each epoch with the number of epochs done and the test accuracy in percent."""

_EVALUATION_BATCH = 500


def configure(
    task: Task,
    row: Row,
    *,
    data: str,
    epochs: int,
    batch_size: int,
    seed: int,
    device: str,
    threads: int,
) -> RunConfig:
    """Return every knob of a row's run under one seed."""
    budget = task.budget
    return RunConfig(
        task=task.name,
        data=data,
        model=repr(task.model),
        method=row.method,
        setting=repr(build_method(row.method, row.prune_ratio)),
        prune_ratio=row.prune_ratio,
        step_exponent=row.step_exponent,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=budget.learning_rate,
        momentum=budget.momentum,
        weight_decay=budget.weight_decay,
        warm_up=budget.warm_up,
        flip=task.flip,
        shift=task.shift,
        seed=seed,
        device=device,
        threads=threads,
    )


@final
@dataclass(frozen=True)
class _Parts:
    """What one run trains with."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: TrainingSet
    loader: DataLoader[tuple[Tensor, Tensor]]
    scheduler: Any
    pruner: Pruner


@final
@dataclass(frozen=True)
class _Epoch:
    """What one epoch reached, and its seconds: training by two clocks, and evaluation."""

    metric: float
    training: float
    cpu: float
    evaluation: float


def train(config: RunConfig, task: Task, images: Images, progress: Progress) -> dict[str, Any]:
    """Train once and return what happened, ready for JSON.

    The metric is the last epoch's test accuracy in percent, never the best one. In `seconds`,
    `training` is the wall-clock time of the training loop with data, planning and closing in it,
    `cpu` the processor's time in the same stretch; evaluation is apart.

    Args:
        config: every knob.
        task: the one it names.
        images: the task's data.
        progress: called after each epoch.
    """
    epochs: list[_Epoch] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ThresherWarning)
        parts = _prepare(config, task, images)
        for number in range(config.trained_epochs):
            started, cpu_started = _clock(config.device), time.process_time()
            parts.data.start_epoch(number)
            _train_epoch(parts, config.device)
            trained, cpu_trained = _clock(config.device), time.process_time()
            metric = accuracy(parts.model, task, images, config.device)
            evaluated = _clock(config.device) - trained
            epochs.append(_Epoch(metric, trained - started, cpu_trained - cpu_started, evaluated))
            progress(number + 1, metric)
    notes = dict.fromkeys(str(warning.message) for warning in said)
    return _record(config, images, parts, epochs, list(notes))


def _prepare(config: RunConfig, task: Task, images: Images) -> _Parts:
    # Layers draw their weights from the global stream; it is put back for whoever called.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = task.model.build()
    model.to(config.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    method = build_method(config.method, config.prune_ratio)
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
    loader = pruner.wrap(plain, score_fn=scoring(model, _Looks(method, config.device)))
    return _Parts(model, optimizer, data, loader, pruner.pace(scheduler), pruner)


@final
@dataclass(frozen=True)
class _Looks:
    """Scores samples that are not being trained, for methods that look at them."""

    method: Method
    device: str

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        images, labels = (part.to(self.device) for part in batch)
        logits = model(images)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return named(self.method.needs, logits, labels, losses)


def _train_epoch(parts: _Parts, device: str) -> None:
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
        losses = F.cross_entropy(logits, labels, reduction="none")
        scores = named(pruner.method.needs, logits, labels, losses) if needs else None
        loss = pruner.reduce(losses, scores=scores)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()


def accuracy(model: nn.Module, task: Task, images: Images, device: str) -> float:
    """Return the percentage of test images that the model labels right, in evaluation mode."""
    mean, std = channel_values(task.mean), channel_values(task.std)
    model.eval()
    right = 0
    with torch.inference_mode():
        batches = zip(
            images.test_images.split(_EVALUATION_BATCH),
            images.test_labels.split(_EVALUATION_BATCH),
            strict=True,
        )
        for pixels, labels in batches:
            guesses = model(normalised(pixels, mean, std).to(device)).argmax(dim=1)
            right += int((guesses == labels.to(device)).sum())
    return 100 * right / len(images.test_labels)


def _record(
    config: RunConfig, images: Images, parts: _Parts, epochs: list[_Epoch], notes: list[str]
) -> dict[str, Any]:
    report = parts.pruner.report()
    visits = len(images.train_labels) * config.epochs
    rows = [
        _as_dict(row) | {"metric": epoch.metric, "seconds": round(epoch.training, 4)}
        for row, epoch in zip(report.rows, epochs, strict=True)
    ]
    return {
        "key": config.key,
        "config": config.as_dict(),
        "metric": epochs[-1].metric,
        "samples_trained": int(report.trained),
        "extra_forwards": int(report.extra_forwards),
        # Of the full run's visits: for fewer epochs the pruner itself saw nothing saved.
        "prune_rate": 1 - report.trained / visits,
        "seconds": {
            "training": round(math.fsum(epoch.training for epoch in epochs), 4),
            "cpu": round(math.fsum(epoch.cpu for epoch in epochs), 4),
            "planning": round(report.planning_seconds, 4),
            "closing": round(report.closing_seconds, 4),
            "data": round(parts.data.seconds, 4),
            "evaluation": round(math.fsum(epoch.evaluation for epoch in epochs), 4),
        },
        "notes": list(dict.fromkeys([*map(str, report.notes), *notes])),
        "epochs": rows,
    }


def _as_dict(row: Any) -> dict[str, Any]:
    return dataclasses.asdict(row) if dataclasses.is_dataclass(row) else dict(row)  # pyright: ignore


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def warm_up(task: Task, images: Images, batch_size: int, device: str) -> None:
    """Make three training steps and throw them away.

    The first steps of a process build the kernels of its layers; without this the first run would
    pay for all, and the first run is always `full`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.model.build()
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    data = task.training_set(images, seed=0)
    for _ in range(3):
        pixels, labels = data.__getitems__(list(range(min(batch_size, len(data)))))
        F.cross_entropy(model(pixels.to(device)), labels.to(device)).backward()


def require_device(device: str) -> None:
    """Refuse a device that torch cannot put a tensor on.

    Raises:
        SettingError: it cannot.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"--device {device} cannot be used here ({reason})", "one that torch can use, like cpu"
        ) from error


def load(task: Task, folder: str | None) -> Images:
    """Return a task's data from a folder, or from the usual places."""
    return task.load(Path(folder) if folder is not None else None)
