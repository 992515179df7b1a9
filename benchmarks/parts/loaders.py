"""Row 2: a wrapped loader against the plain one, the same batches from tensors in memory."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thresher
from parts.common import BATCH, Line

_SHAPE = (3, 32, 32)


class WholeBatches(Dataset[Any]):
    """Tensors in memory, a whole batch per request."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch of images and labels."""
        return self.images[indices], self.labels[indices]


def as_it_is(batch: Any) -> Any:
    """Collate nothing."""
    return batch


def _seconds(loader: Iterable[Any]) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def measure(num_samples: int, repetitions: int) -> list[Line]:
    """Return the lines of row 2; passes of the two loaders take turns, in both orders."""
    images = torch.rand((num_samples, *_SHAPE))
    labels = torch.zeros(num_samples, dtype=torch.int64)
    kinds: dict[str, tuple[Dataset[Any], dict[str, Any]]] = {
        "TensorDataset": (TensorDataset(images, labels), {}),
        "__getitems__": (WholeBatches(images, labels), {"collate_fn": as_it_is}),
    }
    lines: list[Line] = []
    for kind, (data, settings) in kinds.items():
        for workers in (0, 2):
            pruner = thresher.Pruner(thresher.Full(), epochs=9)
            settings = settings | {"num_workers": workers}
            wrapped = pruner.wrap(DataLoader(data, BATCH, shuffle=True, **settings))
            order: Any = pruner.plan(0).ids.tolist()
            plain: DataLoader[Any] = DataLoader(data, BATCH, sampler=order, **settings)
            times: list[tuple[float, float]] = []
            with warnings.catch_warnings():
                # Nothing is trained, so that every pass is over the same plan.
                warnings.simplefilter("ignore", thresher.errors.ThresherWarning)
                _seconds(wrapped), _seconds(plain)
                for turn in range(repetitions):
                    if turn % 2:
                        times.append((_seconds(wrapped), _seconds(plain)))
                    else:
                        last = _seconds(plain)
                        times.append((_seconds(wrapped), last))
            lines.append(_line(f"{kind}, {workers} workers", times, num_samples))
    return lines


def _line(case: str, times: list[tuple[float, float]], num_samples: int) -> Line:
    batches = -(-num_samples // BATCH)
    wrapped, plain = (min(each) for each in zip(*times, strict=True))
    return Line(
        "2 loader",
        case,
        statistics.median(w / p for w, p in times),
        "x",
        1.05,
        more={
            "least/least": wrapped / plain,
            "plain µs/batch": plain / batches * 1e6,
            "added µs/batch": (wrapped - plain) / batches * 1e6,
        },
    )
