"""What a task is: all that a new one must read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from thresher.bench.images import Images, TrainingSet
from thresher.bench.models import ResNet
from thresher.errors import ThresherError


class DataError(ThresherError):
    """A task's data is missing, damaged, or not what the task needs."""


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """How a task is trained in full: SGD with Nesterov momentum under one cycle of OneCycleLR.

    Args:
        epochs: of full training.
        batch_size: of full training.
        learning_rate: the cycle's peak.
        momentum: of the optimizer.
        weight_decay: of the optimizer.
        warm_up: share of the cycle before the peak.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.3


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """Real data, a network and a budget: what methods are compared on. Metric: test accuracy.

    Args:
        name: on the command line.
        title: in tables.
        load: reads the data from the user's folder, or None for the usual places; raises DataError.
        model: the network.
        budget: how it is trained in full.
        mean: of the training pixels, for each channel.
        std: of the training pixels, for each channel.
        flip: mirror half of the training images.
        shift: move training images by up to this many pixels.
        note: what a reader of the task's table has to know, if anything.
    """

    name: str
    title: str
    load: Callable[[Path | None], Images]
    model: ResNet
    budget: Budget
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = True
    shift: int = 0
    note: str = ""

    def training_set(self, images: Images, seed: int) -> TrainingSet:
        """Return the training split as a data set, with the task's augmentation."""
        return TrainingSet(
            images, mean=self.mean, std=self.std, flip=self.flip, shift=self.shift, seed=seed
        )
