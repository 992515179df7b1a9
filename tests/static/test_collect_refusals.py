"""What `collect`, `Collected` and the recorder refuse, with the cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from static.small_network import network, samples
from thresher import Full, Pruner
from thresher.errors import (
    AlreadyWrappedError,
    BatchMismatchError,
    IterableDatasetError,
    MissingScoreError,
    SamplerError,
    SettingError,
    ThresherError,
)
from thresher.static import Collected, TrainingRecorder, collect


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(samples())


def half(batch: list[Any]) -> Any:
    return torch.utils.data.default_collate(batch[: len(batch) // 2])


def twice(batch: list[Any]) -> Any:
    return torch.utils.data.default_collate(batch * 2)


def plain() -> DataLoader[Any]:
    return DataLoader(samples(), 8)


def dicts() -> DataLoader[Any]:
    data: Any = [{"x": x, "y": y} for x, y in samples()]
    return DataLoader(data, 8)


def soft() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.zeros(4, 4), torch.full((4, 3), 1 / 3)), 2)


def forward_nothing(model: nn.Module, batch: Any) -> tuple[Tensor, None]:
    return model(batch[0]), None


class Box:
    """A batch of a kind that nothing can be seen in."""

    def __init__(self, samples: list[Any]) -> None:
        self.x, self.y = torch.utils.data.default_collate(samples)


def unboxed(model: nn.Module, batch: Box) -> tuple[Tensor, Tensor]:
    return model(batch.x), batch.y


def boxes(*needs: str) -> object:
    return collect(network(), DataLoader(samples(), 8, collate_fn=Box), fn=unboxed, needs=needs)


Attempt = Callable[[], object]

REFUSED: dict[str, tuple[Attempt, type[ThresherError], str]] = {
    "wrapped loader": (
        lambda: collect(network(), Pruner(Full(), epochs=3).wrap(plain())),
        AlreadyWrappedError,
        "unwrapped",
    ),
    "iterable": (lambda: collect(network(), DataLoader(Stream())), IterableDatasetError, "map"),
    "no loader": (lambda: collect(network(), list(plain())), SamplerError, "Collected"),  # type: ignore[arg-type]
    "dict batches": (lambda: collect(network(), dicts()), SettingError, "fn="),
    "soft targets": (lambda: collect(network(), soft()), SettingError, "argmax"),
    "filtering collate": (
        lambda: collect(network(), DataLoader(samples(), 8, collate_fn=half)),
        BatchMismatchError,
        "18 samples of 37",
    ),
    "repeating collate": (
        lambda: collect(network(), DataLoader(samples(), 8, collate_fn=twice)),
        BatchMismatchError,
        "each sample of the data set once",
    ),
    "no head": (
        lambda: collect(nn.Flatten(), plain(), needs=("features",)),
        MissingScoreError,
        "head='fc'",
    ),
    "unknown head": (lambda: collect(network(), plain(), head="fc"), SettingError, "head='fc'"),
    "unknown name": (
        lambda: collect(network(), plain(), needs=("forgetting",)),
        SettingError,
        "TrainingRecorder",
    ),
    "no labels": (
        lambda: collect(network(), plain(), fn=forward_nothing, needs=("loss",)),
        MissingScoreError,
        "'loss'",
    ),
    "per-sample gradients of an opaque batch": (lambda: boxes("grand"), SettingError, "Box"),
    "perturbations of an opaque batch": (lambda: boxes("deepfool"), SettingError, "DeepFool"),
    "no models": (lambda: collect([], plain()), SettingError, "one model or more"),
    "weights of other models": (
        lambda: collect(network(), plain(), weights=(1.0, 2.0)),
        SettingError,
        "a weight for each",
    ),
    "nothing collected": (lambda: Collected(), SettingError, "one sample or more"),
    "lengths that differ": (
        lambda: Collected(scores={"a": torch.zeros(3), "b": torch.zeros(4)}),
        SettingError,
        r"shape \(3,\)",
    ),
    "half features": (
        lambda: Collected(features=torch.zeros(3, 2).half()),
        SettingError,
        "float32",
    ),
    "labels without classes": (
        lambda: Collected(labels=torch.tensor([0, 4]), num_classes=3),
        SettingError,
        "from 0 to 2",
    ),
    "a signal that nothing implies": (
        lambda: Collected(features=torch.zeros(3, 2)).signal("loss"),
        MissingScoreError,
        "collect",
    ),
    "recorder of nobody": (lambda: TrainingRecorder(0), SettingError, "1 sample"),
    "recorder with other lengths": (
        lambda: TrainingRecorder(5).observe([0, 1], torch.zeros(3, 2), torch.zeros(3).long()),
        SettingError,
        "2 ids",
    ),
    "recorder with an unknown id": (
        lambda: TrainingRecorder(2).observe([2], torch.zeros(1, 2), torch.zeros(1).long()),
        SettingError,
        "2 samples",
    ),
    "another recorder's state": (
        lambda: TrainingRecorder(2).load_state_dict(TrainingRecorder(3).state_dict()),
        SettingError,
        "3 samples",
    ),
}


@pytest.mark.parametrize(("attempt", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_is_refused(attempt: Attempt, error: type[ThresherError], words: str) -> None:
    with pytest.raises(error, match=words):
        attempt()
