"""What InfoBatch's published code does with a batch and an epoch: the yardstick of row 1.

The code itself is not a package that can be installed. This is an independent, minimal
transcription of its work, in our own words: only what costs time. Where the original does more
(its several-process path joins ids and losses in one float tensor and gathers it each step), the
yardstick does less, so that it flatters the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

# The original seeds and reads numpy's global stream, which costs the same.
_RANDOM = np.random.RandomState(0)


class Unpruned(Dataset[float]):
    """The user's data set, without ids: what the published style is measured on top of."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __getitem__(self, index: int) -> float:
        return 0.0

    def __len__(self) -> int:
        return self.num_samples


class PublishedStyle(Dataset[Any]):
    """A data set around the user's that hands out (id, sample), and keeps scores and weights.

    As in the original, every sample costs one more call from Python.
    """

    def __init__(self, dataset: Unpruned, r: float = 0.5) -> None:
        self.dataset = dataset
        self.scores = torch.full((len(dataset),), 3.0)
        self.weights = torch.ones(len(dataset))
        self.keep = 1 - r

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def select(self) -> list[int]:
        """Choose an epoch's ids: numpy's choice among the easy ones, and a list of Python ints."""
        easy = (self.scores < self.scores.mean()).numpy()
        easy_ids = np.where(easy)[0]
        ids = np.where(~easy)[0].tolist()
        chosen = _RANDOM.choice(easy_ids, int(self.keep * len(easy_ids)), replace=False)
        self.weights[:] = 1.0
        if len(chosen):
            self.weights[chosen] = 1 / self.keep
            ids.extend(chosen)
        _RANDOM.shuffle(ids)
        return ids

    def update(self, ids: Tensor, losses: Tensor) -> Tensor:
        """Store a batch's losses by id, and return their weighted mean."""
        weights = self.weights[ids].to(losses.device)
        self.scores[ids.cpu().long()] = losses.detach().clone().cpu()
        return (losses * weights).mean()


class PublishedSampler(Sampler[int]):
    """Selects when a pass begins, and hands out one id at a time."""

    def __init__(self, data: PublishedStyle) -> None:
        self.data = data
        self.kept = 0
        self._ids: Iterator[int] = iter(())

    def __iter__(self) -> Iterator[int]:
        ids = self.data.select()
        self.kept = len(ids)
        self._ids = iter(ids)
        return _OneByOne(self._ids)


class _OneByOne:
    # Apart from the sampler, which returned itself and so never ended on today's PyTorch.
    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self._ids)
