"""Scores that depend on the sample and the epoch alone, some of them broken."""

from __future__ import annotations

import torch
from torch import Tensor

N = 20


def scored(epoch: int, ids: Tensor, broken: tuple[int, ...]) -> Tensor:
    """A score of each sample that depends on nothing else, NaN or infinite for some."""
    scores = torch.frac((ids + 1) * (epoch + 2) * 0.618034).float()
    for k, sample in enumerate(broken):
        scores[ids == sample] = (torch.nan, torch.inf, -torch.inf)[k % 3]
    return scores
