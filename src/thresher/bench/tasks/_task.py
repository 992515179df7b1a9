"""What a task is: all that a new one must read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, final

from torch import Tensor, nn

from thresher.bench.metrics import Metric
from thresher.bench.objectives import CLASSES, Objective
from thresher.errors import ThresherError


class DataError(ThresherError):
    """A task's data is missing, damaged, or not what the task needs."""


class NoDataError(DataError):
    """None of a task's files is where they were looked for; they may be elsewhere."""


class Data(Protocol):
    """What a task loads: a training and a test split, in memory or as a list of files."""

    @property
    def train_labels(self) -> Tensor:
        """Classes, int64: (n,), or (n, T) where each place of a sample has one."""
        ...

    @property
    def clean_labels(self) -> Tensor | None:
        """The right ones, where the training labels are known to be wrong in part."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the labels, or empty."""
        ...

    def __len__(self) -> int:
        """Return the number of training samples."""
        ...

    def checksum(self) -> str:
        """Return eight hexadecimal digits that change with the data."""
        ...

    def shown(self, sample_id: int) -> Tensor | str:
        """Return a training sample for a person: a picture, uint8, (C, H, W), or a text."""
        ...

    def head(self, train: int, test: int) -> Any:
        """Return the first samples of each split."""
        ...


class TrainingData(Protocol):
    """A data set that makes a whole batch per request, by sample id, and draws by epoch and id."""

    seconds: float

    def start_epoch(self, epoch: int) -> None:
        """Draw what is random in an epoch."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, sample_id: int) -> tuple[Tensor, Tensor]: ...

    def __getitems__(self, sample_ids: list[int]) -> tuple[Tensor, Tensor]: ...


class Inputs(Protocol):
    """How data becomes batches of inputs and targets."""

    @property
    def knobs(self) -> dict[str, Any]:
        """`flip` and `shift`, as a run's configuration has them."""
        ...

    def training_set(self, data: Any, seed: int) -> TrainingData:
        """Return the training split, augmented by (seed, epoch, sample id)."""
        ...

    def plain_set(self, data: Any) -> TrainingData:
        """Return the training split without augmentation."""
        ...

    def test_batches(self, data: Any, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test split."""
        ...


class Model(Protocol):
    """A network as data: a frozen dataclass, whose repr is part of a run's key."""

    def build(self) -> nn.Module:
        """Return a new network; its weights are drawn from torch's current global stream."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """How a task is trained in full: an optimizer under one cycle of OneCycleLR, cosine-shaped.

    Args:
        epochs: of full training.
        batch_size: of full training.
        optimizer: `sgd`, with Nesterov momentum, or `adamw`.
        learning_rate: the cycle's peak.
        momentum: of SGD.
        weight_decay: of the optimizer.
        warm_up: share of the cycle before the peak.
        drop_last: leave out an epoch's last batch if it is not full.
    """

    epochs: int
    batch_size: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.3
    drop_last: bool = False

    @property
    def knobs(self) -> dict[str, Any]:
        """What a run's configuration says beside epochs and batch size.

        Choices that came later say nothing where they are not made, so that old keys hold.
        """
        is_sgd = self.optimizer == "sgd"
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum if is_sgd else None,
            "weight_decay": self.weight_decay,
            "warm_up": self.warm_up,
            "optimizer": None if is_sgd else self.optimizer,
            "drop_last": True if self.drop_last else None,
        }


@final
@dataclass(frozen=True, kw_only=True)
class Paper:
    """A task as the papers train it, for `--scale paper`: what differs from the small one.

    Args:
        title: in tables.
        model: the network.
        budget: how it is trained in full.
        inputs: how samples become batches.
        note: where the settings come from.
    """

    title: str
    model: Model
    budget: Budget
    inputs: Inputs
    note: str


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """Real data, a network, an objective and a budget: what methods are compared on.

    Args:
        name: on the command line.
        title: in tables.
        load: reads the data from the user's folder, or None for the usual places; raises DataError,
            and NoDataError if nothing of them is in a folder but may be in the usual places.
        model: the network.
        budget: how it is trained in full.
        inputs: how samples become batches.
        objective: loss, scores and metric.
        note: what a reader of the task's table has to know, if anything.
        paper: the papers' settings, if there are any.
    """

    name: str
    title: str
    load: Callable[[Path | None], Data]
    model: Model
    budget: Budget
    inputs: Inputs
    objective: Objective = CLASSES
    note: str = ""
    paper: Paper | None = None

    @property
    def metric(self) -> Metric:
        """What is measured on the test split, and which way is better."""
        return self.objective.metric

    def training_set(self, data: Data, seed: int) -> TrainingData:
        """Return the training split as a data set, with the task's augmentation."""
        return self.inputs.training_set(data, seed)

    def known_wrong(self, data: Data) -> Tensor | None:
        """Return which training labels are known to be wrong, bool (n,); None if none is."""
        clean = data.clean_labels
        return None if clean is None else data.train_labels != clean

    def as_in_papers(self) -> Task:
        """Return the task with the papers' settings; `paper` must be there."""
        assert self.paper is not None
        paper = self.paper
        return replace(
            self,
            name=f"{self.name}@paper",
            title=paper.title,
            model=paper.model,
            budget=paper.budget,
            inputs=paper.inputs,
            note=paper.note,
        )
