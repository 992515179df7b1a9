"""One run: a configuration in, a record of what it cost and reached out."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from thresher.accounting import Report
from thresher.bench.catalogue import build_method
from thresher.bench.costs import Flops, flops_in_record, flops_of
from thresher.bench.kept import packed
from thresher.bench.reference import Cost, References
from thresher.bench.suite import Row, RunConfig, reference_epochs
from thresher.bench.tasks import Data, Task
from thresher.bench.training import Parts, Spent, clock, evaluate, prepare, train_epoch
from thresher.errors import AllLossesNaNError, SettingError, ThresherWarning
from thresher.static import StaticMethod

Progress = Callable[[int, float], None]
"""Called after each epoch with the number of epochs done and the metric on the test split."""


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
        seed=seed,
        device=device,
        threads=threads,
        reference_epochs=reference_epochs(row.method, epochs),
        **task.budget.knobs,
        **task.inputs.knobs,
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
    data: Data,
    progress: Progress,
    references: References | None = None,
) -> dict[str, Any]:
    """Train once and return what happened, ready for JSON.

    The metric is the last epoch's on the test split, never the best one; `measure` says what it is.
    It is NaN if a method stopped because not one score of an epoch was a number.
    In `seconds`, `training` is the wall-clock time of the training loop and `cpu` the processor's
    time in the same stretch. In it are `data` (making batches), `planning` and `closing` (choosing,
    with what they wait for), `gathering` (from other ranks) and `waiting` (for the loader, beyond
    these); `scoring`, of the forwards that only ask, lies in planning or closing. Evaluation is
    apart, and so is what a static method costs before it: `reference`, `collecting` and
    `selecting`. `total` is everything. `flops` is the same in operations (`costs.py`).

    Args:
        config: every knob.
        task: the one it names.
        data: the task's.
        progress: called after each epoch.
        references: of this process; None trains the reference of a static method for it alone.
    """
    epochs: list[_Epoch] = []
    # First, so that a model that cannot be counted fails before it is trained.
    each = flops_of(task, data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ThresherWarning)
        method, cost = build_method(config.method, config.prune_ratio, config.seed), None
        if isinstance(method, StaticMethod):
            method, cost = (references or References()).choose(method, config, task, data)
        parts = prepare(config, task, data, method)
        for number in range(config.trained_epochs):
            try:
                spent = train_epoch(parts, number, config.device)
            except AllLossesNaNError as error:
                if not epochs:
                    raise
                # A result like any other: without it the table would be about the luckier seeds.
                epochs[-1] = replace(epochs[-1], metric=math.nan)
                warnings.warn(str(error), ThresherWarning, stacklevel=1)
                break
            trained = clock(config.device)
            metric = evaluate(parts.model, task, data, config.device)
            epochs.append(_Epoch(metric, spent, clock(config.device) - trained))
            progress(number + 1, metric)
    notes = dict.fromkeys(str(warning.message) for warning in said)
    record = _record(config, data, parts, epochs, list(notes))
    record["measure"] = task.metric.in_record()
    return _with_costs(record, each, len(data) * config.epochs, cost or Cost())


def _with_costs(record: dict[str, Any], each: Flops, visits: int, cost: Cost) -> dict[str, Any]:
    """Return a record with what its subset cost, and with all operations and seconds in sum."""
    forwards = record["extra_forwards"] + cost.forwards
    is_chosen_once = cost != Cost()
    seconds = record["seconds"] | (cost.in_record() if is_chosen_once else {})
    parts = ("reference", "collecting", "selecting", "training", "evaluation")
    total = math.fsum(seconds.get(part, 0.0) for part in parts)
    flops = flops_in_record(
        each,
        trained=record["samples_trained"],
        scored=forwards,
        reference=cost.trained,
        visits=visits,
    )
    return (
        record
        | ({"reference_samples": cost.trained} if is_chosen_once else {})
        | {
            "extra_forwards": forwards,
            "seconds": seconds | {"total": round(total, 4)},
            "flops": flops,
        }
    )


def _record(
    config: RunConfig, data: Data, parts: Parts, epochs: list[_Epoch], notes: list[str]
) -> dict[str, Any]:
    report = parts.pruner.report()
    visits = len(data) * config.epochs
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
        "seconds": _seconds(report, parts, epochs),
        "notes": list(dict.fromkeys([*map(str, report.notes), *notes])),
        "epochs": rows,
        # Taken off by the store, which keeps one seed's of each row.
        "samples": packed(parts.kept, config.seed),
    }


def _seconds(report: Report, parts: Parts, epochs: list[_Epoch]) -> dict[str, float]:
    made = parts.data.seconds + report.planning_seconds + report.closing_seconds
    seconds = {
        "training": math.fsum(epoch.training.wall for epoch in epochs),
        "cpu": math.fsum(epoch.training.cpu for epoch in epochs),
        "planning": report.planning_seconds,
        "closing": report.closing_seconds,
        "gathering": math.fsum(row.gathering_seconds for row in report.rows),
        "scoring": parts.scored.seconds,
        "data": parts.data.seconds,
        # Planning and closing happen while the loop asks for an epoch's first batch.
        "waiting": max(0.0, parts.fetched.seconds - made),
        "evaluation": math.fsum(epoch.evaluation for epoch in epochs),
    }
    return {name: round(value, 4) for name, value in seconds.items()}


def _as_dict(row: Any) -> dict[str, Any]:
    return dataclasses.asdict(row) if dataclasses.is_dataclass(row) else dict(row)  # pyright: ignore


def warm_up(task: Task, data: Data, batch_size: int, device: str) -> None:
    """Make three training steps and throw them away.

    The first steps of a process build the kernels of its layers; without this the first run would
    pay for all, and the first run is always `full`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.model.build()
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    plain = task.inputs.plain_set(data)
    for _ in range(3):
        inputs, targets = plain.__getitems__(list(range(min(batch_size, len(plain)))))
        losses = task.objective.losses(model(inputs.to(device)), targets.to(device))
        losses.mean().backward()


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


def load(task: Task, folder: str | None) -> Data:
    """Return a task's data from a folder, or from the usual places."""
    return task.load(Path(folder) if folder is not None else None)
