"""Row 2: a wrapped loader against the plain one, same batches from memory, 0 and 2 workers."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thresher
from parts.common import BATCH, Line
from parts.selection import same


class Rows(Dataset[torch.Tensor]):
    """A tensor whose batches are taken in one call."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.values[index]

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        """Return the rows of a whole batch."""
        return self.values[torch.as_tensor(indices)]


def _pass(loader: Any, *, has_workers: bool) -> float:
    # Workers spend their time in other processes, so with them only the wall clock tells.
    clock = time.perf_counter if has_workers else time.process_time
    start = clock()
    for _ in loader:
        pass
    return clock() - start


def _pair(kind: str, workers: int, num_samples: int) -> tuple[Any, Any]:
    """A plain loader and a wrapped one of the same settings; both pass over all samples."""
    values = torch.zeros(num_samples, 32)
    data: Any = TensorDataset(values) if kind == "TensorDataset" else Rows(values)
    more: dict[str, Any] = {} if kind == "TensorDataset" else {"collate_fn": same}
    if workers:
        more |= {"num_workers": workers, "persistent_workers": True}
    plain: Any = DataLoader(data, BATCH, shuffle=True, **more)
    wrapped = thresher.Pruner(thresher.Full(), epochs=1000).wrap(
        DataLoader(data, BATCH, shuffle=True, **more)
    )
    return plain, wrapped


def measure(num_samples: int, repetitions: int) -> list[Line]:
    """Return the lines of row 2; the two loaders take turns, and which is first does too."""
    lines: list[Line] = []
    for kind in ("TensorDataset", "__getitems__"):
        for workers in (0, 2):
            plain, wrapped = _pair(kind, workers, num_samples)
            # Passes without a `reduce` are meant here.
            warnings.simplefilter("ignore", thresher.errors.ThresherWarning)
            for loader in (plain, wrapped):
                _pass(loader, has_workers=workers > 0)
            spent: dict[str, list[float]] = {"plain": [], "wrapped": []}
            for turn in range(repetitions):
                order = [("plain", plain), ("wrapped", wrapped)]
                for name, loader in order if turn % 2 else order[::-1]:
                    spent[name].append(_pass(loader, has_workers=workers > 0))
            lines.append(
                Line(
                    "2 wrapped loader",
                    f"{kind}, {workers} workers",
                    min(spent["wrapped"]) / min(spent["plain"]),
                    "x",
                    1.05,
                    more={
                        "median": statistics.median(spent["wrapped"])
                        / statistics.median(spent["plain"]),
                        "ms a batch": min(spent["plain"]) / -(-num_samples // BATCH) * 1e3,
                    },
                )
            )
    return lines
