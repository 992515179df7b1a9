"""What a static method is: all that a new one must read, beside `Collected`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from thresher.methods._method import Reference, require_share
from thresher.static.collected import Collected


@dataclass(frozen=True, kw_only=True)
class StaticMethod(ABC):
    """A published rule that chooses once what to train on: settings only, no state.

    It sees what `thresher.static.collect` took from a reference model; never a model or a loader.

    Args:
        balanced: choose within each class, as many as is proportional to its size (largest
            remainder; together exactly the size asked). Wants labels.
    """

    balanced: bool = False

    needs: ClassVar[tuple[str, ...]] = ()
    """Names of `Collected`'s fields and signals that the rule reads."""
    unbiased_for: ClassVar[str] = ""
    """What the weighted gradient is unbiased for, in words; empty if for nothing that is named."""
    has_exact_rate: ClassVar[bool] = True
    """Whether settings alone decide how many samples are chosen."""
    family: ClassVar[str] = "static"
    """Which of the library's families the method is of."""
    cost: ClassVar[str] = ""
    """Time and memory of a selection from n samples, d features and c classes."""
    reference: ClassVar[Reference]
    """The source the method is faithful to."""

    def wants(self) -> tuple[str, ...]:
        """Return the names these settings read: `needs`, unless a setting changes them."""
        return self.needs

    def select(self, data: Collected, *, prune_ratio: float) -> tuple[Tensor, Tensor]:
        """Choose k = max(1, round((1 − P)·n)) samples.

        Args:
            data: what the reference model says.
            prune_ratio: P, the share of the samples to leave out, in [0, 1).

        Returns:
            ids, int64, shape (k,), in order of choice (class by class if balanced), and their
            weights, float32, shape (k,), positive: 1 where the rule gives none.

        Raises:
            MissingScoreError: the data lacks what the method needs.
            SettingError: the ratio is outside [0, 1).
        """
        require_share(type(self).__name__, "prune_ratio", prune_ratio)
        data.require(*self.wants(), *(("labels",) if self.balanced else ()))
        size = data.num_samples
        budget = max(1, round((1 - prune_ratio) * size))
        if not self.balanced:
            among = torch.arange(size, dtype=torch.int64, device="cpu")
            ids, weights = self._choose(data, [(among, budget)])
        else:
            assert data.labels is not None
            ids, weights = self._choose(data, shares(data.labels, budget))
        assert len(ids) == len(weights) == budget
        return ids, weights

    @abstractmethod
    def _choose(
        self, data: Collected, parts: list[tuple[Tensor, int]]
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class ScoreMethod(StaticMethod):
    """A rule that scores every sample and keeps the largest scores.

    Equal scores go by id, lower first; NaN and infinite ones come before every finite one and tie
    with each other. So the choice of a higher ratio is the beginning of that of a lower one
    (not if balanced: quotas are rounded).
    """

    @abstractmethod
    def score(self, data: Collected) -> Tensor:
        """Return how much each sample is worth keeping: shape (n,)."""

    def _choose(self, data: Collected, parts: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        score = self.score(data).detach().double().numpy()
        worth = np.where(np.isfinite(score), score, np.inf)
        chosen = [
            among[torch.from_numpy(np.argsort(-worth[among.numpy()], kind="stable")[:quota])]
            for among, quota in parts
        ]
        return _together([(ids, None) for ids in chosen])


@dataclass(frozen=True, kw_only=True)
class SetMethod(StaticMethod):
    """A rule that chooses a set as a whole."""

    @abstractmethod
    def choose(self, data: Collected, budget: int, among: Tensor) -> tuple[Tensor, Tensor | None]:
        """Choose `budget` of the ids `among`; called once, or once a class if balanced.

        Args:
            data: of all samples.
            budget: from 1 to the number of candidates.
            among: int64, ascending.

        Returns:
            ids, int64, shape (budget,), unique, in order of choice, and their weights, float32,
            or None for 1 each.
        """

    def _choose(self, data: Collected, parts: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        return _together([self.choose(data, quota, among) for among, quota in parts if quota])


def apportioned(sizes: Sequence[int], budget: int) -> list[int]:
    """Return parts of a budget proportional to `sizes`, rounded by the largest remainder.

    They sum to exactly `budget`; of equal remainders the first wins.

    Args:
        sizes: not negative, their sum positive.
        budget: from 0 to the sum of the sizes; then no part exceeds its size.

    Example:
        >>> apportioned([5, 3, 2], 4)
        [2, 1, 1]
    """
    quotas, remainders = np.divmod(np.asarray(sizes, dtype=np.int64) * budget, sum(sizes))
    first = np.argsort(-remainders, kind="stable")[: budget - int(quotas.sum())]
    quotas[first] += 1
    return quotas.tolist()


def shares(labels: Tensor, budget: int) -> list[tuple[Tensor, int]]:
    """Return the ids of each class, ascending, and its part of the budget; see `apportioned`.

    Args:
        labels: int64, shape (n,).
        budget: from 0 to n.

    Example:
        >>> [(ids.tolist(), quota) for ids, quota in shares(torch.tensor([1, 0, 1, 1]), 2)]
        [([1], 1), ([0, 2, 3], 1)]
    """
    values = labels.numpy()
    order = np.argsort(values, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(values[order])) + 1)
    quotas = apportioned([len(ids) for ids in members], budget)
    return [(torch.from_numpy(ids), quota) for ids, quota in zip(members, quotas, strict=True)]


def _together(parts: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    ids = torch.cat([ids for ids, _ in parts])
    weights = torch.ones(len(ids), dtype=torch.float32, device="cpu")
    start = 0
    for chosen, given in parts:
        if given is not None:
            weights[start : start + len(chosen)] = given
        start += len(chosen)
    return ids, weights
