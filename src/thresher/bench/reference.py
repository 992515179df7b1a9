"""What a static method chooses from: a reference model, trained and asked, with what that cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import final

from torch import nn
from torch.utils.data import DataLoader

from thresher.bench.images import Images, whole_batch
from thresher.bench.suite import RunConfig
from thresher.bench.tasks import Task
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
class References:
    """Reference models, each trained once under a seed for all the methods that want it.

    Only the time is saved: a method is charged all that it uses, as if it were alone.
    """

    def __init__(self) -> None:
        self._seed: int | None = None
        self._models: dict[tuple[RunConfig, bool], tuple[nn.Module, Collected, Cost]] = {}
        self._told: dict[tuple[RunConfig, tuple[str, ...]], tuple[Collected, Cost]] = {}

    def choose(
        self, method: StaticMethod, config: RunConfig, task: Task, images: Images
    ) -> tuple[Subset, Cost]:
        """Return what a method chooses to train on, and what finding it out cost.

        Weights are scaled to mean 1, which is how the papers that give any use them.

        Args:
            method: the one that the configuration names.
            config: of the run that will train on the subset.
            task: the one it names.
            images: the task's data.
        """
        if self._seed != config.seed:
            self._models.clear()
            self._told.clear()
            self._seed = config.seed
        needs = (*method.wants(), *(("labels",) if method.balanced else ()))
        data, cost = self._collected(needs, config, task, images)
        assert config.prune_ratio is not None
        started = time.perf_counter()
        ids, weights = method.select(data, prune_ratio=config.prune_ratio)
        seconds = time.perf_counter() - started
        subset = Subset(ids, weights / weights.mean(), prune_ratio=config.prune_ratio)
        return subset, replace(cost, selecting=seconds)

    def _collected(
        self, needs: tuple[str, ...], config: RunConfig, task: Task, images: Images
    ) -> tuple[Collected, Cost]:
        if config.reference_epochs is None:
            return _labels(images), Cost()
        reference = _configured(config, config.reference_epochs)
        if (reference, needs) not in self._told:
            self._told[reference, needs] = self._asked(needs, reference, task, images)
        return self._told[reference, needs]

    def _asked(
        self, needs: tuple[str, ...], reference: RunConfig, task: Task, images: Images
    ) -> tuple[Collected, Cost]:
        is_recorded = not _RECORDED.isdisjoint(needs)
        if (reference, is_recorded) not in self._models:
            self._models[reference, is_recorded] = _trained(reference, is_recorded, task, images)
        model, recorded, cost = self._models[reference, is_recorded]
        if is_recorded:
            return recorded, cost
        # Without augmentation: what is asked is about the samples, not about a picture of the day.
        plain = replace(task, flip=False, shift=0).training_set(images, reference.seed)
        loader = DataLoader(plain, EVALUATION_BATCH, collate_fn=whole_batch)
        started = clock(reference.device)
        data = collect(model, loader, needs=needs)
        seconds = clock(reference.device) - started
        if "labels" not in needs:
            data = replace(data, labels=None)
        return data, replace(cost, collecting=seconds, forwards=len(plain))


def _labels(images: Images) -> Collected:
    labels = images.train_labels
    return Collected(labels=labels, num_classes=int(labels.max()) + 1)


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


def _trained(
    reference: RunConfig, is_recorded: bool, task: Task, images: Images
) -> tuple[nn.Module, Collected, Cost]:
    """Return a reference model, what its training told if that was recorded, and its cost."""
    parts = prepare(reference, task, images, Full())
    size = len(images.train_labels)
    recorder = TrainingRecorder(size) if is_recorded else None
    observe = recorder.observe if recorder is not None else None
    spent = [
        train_epoch(parts, number, reference.device, observe) for number in range(reference.epochs)
    ]
    recorded = recorder.collected() if recorder is not None else _labels(images)
    seconds = sum(each.wall for each in spent)
    cost = Cost(reference=seconds, trained=size * reference.epochs)
    return parts.model, recorded, cost
