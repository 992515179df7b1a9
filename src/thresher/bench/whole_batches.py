"""A training set in memory, or on the disk, that makes a whole batch per request."""

from __future__ import annotations

import time
from abc import abstractmethod

import torch
from torch import Tensor
from torch.utils.data import Dataset


class TrainingBatches(Dataset[tuple[Tensor, Tensor]]):
    """Inputs and labels, a whole batch per request.

    Args:
        labels: (n, ...).

    Attributes:
        seconds: time spent on making batches.
    """

    def __init__(self, labels: Tensor) -> None:
        self.seconds = 0.0
        self._labels = labels

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Draw what is random about each sample in this epoch."""

    @abstractmethod
    def _inputs(self, ids: Tensor) -> Tensor:
        """Make the inputs (B, ...) of samples `ids`, int64 (B,)."""

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, sample_id: int) -> tuple[Tensor, Tensor]:
        inputs, labels = self.__getitems__([sample_id])
        return inputs[0], labels[0]

    def __getitems__(self, sample_ids: list[int]) -> tuple[Tensor, Tensor]:
        """Return the inputs (B, ...) and labels (B, ...) of a batch."""
        started = time.perf_counter()
        ids = torch.as_tensor(sample_ids)
        batch = self._inputs(ids), self._labels[ids]
        self.seconds += time.perf_counter() - started
        return batch
