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


class PublishedStyle(Dataset[Any], Sampler[int]):
    """Data set and sampler in one: hands out (id, sample), keeps scores and weights by id."""

    def __init__(self, num_samples: int, r: float = 0.5) -> None:
        self.scores = torch.full((num_samples,), 3.0)
        self.weights = torch.ones(num_samples)
        self.keep = 1 - r
        self.kept = num_samples
        self.sample = torch.zeros(())

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.sample

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[int]:
        """Select for one epoch: a global choice by numpy, ids in a shuffled list."""
        easy = (self.scores < self.scores.mean()).numpy()
        easy_ids = np.where(easy)[0]
        ids = np.where(~easy)[0].tolist()
        generator = np.random.RandomState(0)
        chosen = generator.choice(easy_ids, int(self.keep * len(easy_ids)), replace=False)
        self.weights[:] = 1.0
        if len(chosen):
            self.weights[chosen] = 1 / self.keep
            ids.extend(chosen)
        generator.shuffle(ids)
        self.kept = len(ids)
        return iter(ids)

    def update(self, ids: Tensor, losses: Tensor) -> Tensor:
        """Store a batch's losses by id, and return their weighted mean."""
        weights = self.weights[ids].to(losses.device)
        self.scores[ids.cpu().long()] = losses.detach().clone().cpu()
        return (losses * weights).mean()


class Unpruned(Dataset[Any]):
    """The same samples without the ids: what the published style is measured on top of."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.sample = torch.zeros(())

    def __getitem__(self, index: int) -> Tensor:
        return self.sample

    def __len__(self) -> int:
        return self.num_samples


def with_ids(items: list[tuple[int, Tensor]]) -> tuple[Tensor, Tensor]:
    """Collate ids as torch's default does; the samples cost nothing here."""
    ids, samples = zip(*items, strict=True)
    return torch.tensor(ids), samples[0]


def without_ids(items: list[Tensor]) -> Tensor:
    """Collate samples at no cost."""
    return items[0]
