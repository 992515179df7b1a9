"""What a static method chooses from: a reference model, trained and asked, with what that cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import nn
from torch.utils.data import DataLoader

from thresher.bench.images import whole_batch
from thresher.bench.suite import RunConfig
from thresher.bench.tasks import Data, Task
from thresher.bench.training import EVALUATION_BATCH, clock, prepare, train_epoch
from thresher.methods import Full, Subset
from thresher.static import Collected, StaticMethod, TrainingRecorder, collect

_RECORDED = frozenset({"forgetting"})
"""What only a training tells: a `TrainingRecorder` has it, `collect` has not."""

_APART = 1_000_003
"""Between the seeds of a run and of its reference, which is another model than the one it helps."""


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a choice cost before the run that trains on it; the same whoever else used a part of it.

    Args:
        reference: seconds of training the reference model.
        collecting: seconds of asking it.
        selecting: seconds of choosing.
        trained: samples the reference was trained on, in visits.
        forwards: samples it was asked about. DeepFool asks many times and GraND goes backward too,
            which only the seconds show.
    """

    reference: float = 0.0
    collecting: float = 0.0
    selecting: float = 0.0
    trained: int = 0
    forwards: int = 0

    def in_record(self) -> dict[str, float]:
        """Return the seconds as a run's record has them."""
        names = ("reference", "collecting", "selecting")
        return {name: round(getattr(self, name), 4) for name in names}


@final
@dataclass(frozen=True, kw_only=True)
class _Reference:
    """A trained reference model, what its training told if that was recorded, and its cost."""

    model: nn.Module
    recorded: Collected
    cost: Cost
    device: str


@final
class References:
    """Reference models, each trained once under a seed for all the methods that want it.

    Only the time is saved: a method is charged all that it uses, as if it were alone.
    """

    def __init__(self) -> None:
        self._seed: int | None = None
        self._models: dict[tuple[RunConfig, bool], _Reference] = {}
        self._told: dict[tuple[RunConfig, tuple[str, ...]], tuple[Collected, Cost]] = {}

    def choose(
        self, method: StaticMethod, config: RunConfig, task: Task, data: Data
    ) -> tuple[Subset, Cost]:
        """Return what a method chooses to train on, and what finding it out cost.

        Weights are scaled to mean 1, which is how the papers that give any use them.

        Args:
            method: the one that the configuration names.
            config: of the run that will train on the subset.
            task: the one it names.
            data: the task's.
        """
        if self._seed != config.seed:
            self._models.clear()
            self._told.clear()
            self._seed = config.seed
        # In one order, so that methods which want the same share what is asked.
        needs = tuple(sorted({*method.wants(), *(("labels",) if method.balanced else ())}))
        told, cost = self._collected(needs, config, task, data)
        assert config.prune_ratio is not None
        started = time.perf_counter()
        ids, weights = method.select(told, prune_ratio=config.prune_ratio)
        seconds = time.perf_counter() - started
        subset = Subset(ids, weights / weights.mean(), prune_ratio=config.prune_ratio)
        return subset, replace(cost, selecting=seconds)

    def _collected(
        self, needs: tuple[str, ...], config: RunConfig, task: Task, data: Data
    ) -> tuple[Collected, Cost]:
        if config.reference_epochs is None:
            return _labels(data), Cost()
        one = _configured(config, config.reference_epochs)
        if (one, needs) not in self._told:
            is_recorded = not _RECORDED.isdisjoint(needs)
            if (one, is_recorded) not in self._models:
                self._models[one, is_recorded] = _trained(one, is_recorded, task, data)
            self._told[one, needs] = _asked(self._models[one, is_recorded], needs, task, data)
        return self._told[one, needs]


def _labels(data: Data) -> Collected:
    return Collected(labels=_classes(data), num_classes=int(_classes(data).max()) + 1)


def _classes(data: Data) -> torch.Tensor:
    """Return the class of each sample; where its places have one each, all are of one kind."""
    labels = data.train_labels
    return labels if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64)


def _configured(config: RunConfig, epochs: int) -> RunConfig:
    """Return full training for that many epochs, from other weights and in another order."""
    return replace(
        config,
        method="full",
        setting=repr(Full()),
        prune_ratio=None,
        step_exponent=None,
        epochs=epochs,
        seed=config.seed + _APART,
        reference_epochs=None,
    )


def _trained(one: RunConfig, is_recorded: bool, task: Task, data: Data) -> _Reference:
    parts = prepare(one, task, data, Full())
    recorder = TrainingRecorder(len(data)) if is_recorded else None
    observe = recorder.observe if recorder is not None else None
    spent = [train_epoch(parts, number, one.device, observe) for number in range(one.epochs)]
    cost = Cost(reference=sum(each.wall for each in spent), trained=len(data) * one.epochs)
    return _Reference(
        model=parts.model,
        recorded=recorder.collected() if recorder is not None else _labels(data),
        cost=cost,
        device=one.device,
    )


def _asked(
    reference: _Reference, needs: tuple[str, ...], task: Task, data: Data
) -> tuple[Collected, Cost]:
    """Return exactly what is needed, and what it cost with the training."""
    told, cost = reference.recorded, reference.cost
    asked = tuple(name for name in needs if name not in (*_RECORDED, "labels"))
    if asked:
        # Without augmentation: what is asked is about the samples, not about one epoch's pictures.
        plain: Any = task.inputs.plain_set(data)
        loader = DataLoader(plain, EVALUATION_BATCH, collate_fn=whole_batch)
        started = clock(reference.device)
        told = collect(reference.model, loader, needs=asked)
        seconds = clock(reference.device) - started
        cost = replace(cost, collecting=seconds, forwards=len(plain))
    recorded = {name: reference.recorded.signal(name) for name in _RECORDED if name in needs}
    # RETRIEVE would take labels that it has not asked for as its own guesses.
    labels = _classes(data) if "labels" in needs else None
    return replace(told, labels=labels, scores={**told.scores, **recorded}), cost
