"""One run: a configuration in, a record of what it cost and reached out."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F

from thresher.bench.catalogue import build_method
from thresher.bench.images import Images
from thresher.bench.reference import Cost, References
from thresher.bench.suite import Row, RunConfig, reference_epochs
from thresher.bench.tasks import Task
from thresher.bench.training import Parts, Spent, accuracy, clock, prepare, train_epoch
from thresher.errors import SettingError, ThresherWarning
from thresher.static import StaticMethod

Progress = Callable[[int, float], None]
"""Called after each epoch with the number of epochs done and the test accuracy in percent."""


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
        setting=repr(build_method(row.method, row.prune_ratio, seed)),
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
        reference_epochs=reference_epochs(row.method, epochs),
    )


@final
@dataclass(frozen=True)
class _Epoch:
    """What one epoch reached, its seconds of training, and those of evaluation."""

    metric: float
    training: Spent
    evaluation: float


def train(
    config: RunConfig,
    task: Task,
    images: Images,
    progress: Progress,
    references: References | None = None,
) -> dict[str, Any]:
    """Train once and return what happened, ready for JSON.

    The metric is the last epoch's test accuracy in percent, never the best one. In `seconds`,
    `training` is the wall-clock time of the training loop with data, planning and closing in it,
    `cpu` the processor's time in the same stretch; evaluation is apart. So is what a static method
    costs before it: `reference`, `collecting` and `selecting`, by the wall clock.

    Args:
        config: every knob.
        task: the one it names.
        images: the task's data.
        progress: called after each epoch.
        references: of this process; None trains the reference of a static method for it alone.
    """
    epochs: list[_Epoch] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ThresherWarning)
        method, cost = build_method(config.method, config.prune_ratio, config.seed), None
        if isinstance(method, StaticMethod):
            method, cost = (references or References()).choose(method, config, task, images)
        parts = prepare(config, task, images, method)
        for number in range(config.trained_epochs):
            spent = train_epoch(parts, number, config.device)
            trained = clock(config.device)
            metric = accuracy(parts.model, task, images, config.device)
            epochs.append(_Epoch(metric, spent, clock(config.device) - trained))
            progress(number + 1, metric)
    notes = dict.fromkeys(str(warning.message) for warning in said)
    record = _record(config, images, parts, epochs, list(notes))
    return record if cost is None else _charged(record, cost)


def _charged(record: dict[str, Any], cost: Cost) -> dict[str, Any]:
    """Return a record with what its subset cost; what the run itself did stays apart."""
    return record | {
        "reference_samples": cost.trained,
        "extra_forwards": record["extra_forwards"] + cost.forwards,
        "seconds": record["seconds"] | cost.in_record(),
    }


def _record(
    config: RunConfig, images: Images, parts: Parts, epochs: list[_Epoch], notes: list[str]
) -> dict[str, Any]:
    report = parts.pruner.report()
    visits = len(images.train_labels) * config.epochs
    rows = [
        _as_dict(row) | {"metric": epoch.metric, "seconds": round(epoch.training.wall, 4)}
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
            "training": round(math.fsum(epoch.training.wall for epoch in epochs), 4),
            "cpu": round(math.fsum(epoch.training.cpu for epoch in epochs), 4),
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
