"""What one epoch will train on, and the scores that come back from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor

from thresher._order import compressed
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.population import EVERYONE, Population
from thresher.runs import Runs
from thresher.shard import Shard

# Work in pieces keeps temporaries in the cache, and small.
_CHUNK = 1 << 15


@final
@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a method is told of the epoch it plans.

    Args:
        number: the epoch, from 0.
        draws: every random choice of this epoch, keyed by (seed, epoch, purpose).
        target: the share of the samples to leave out; None leaves it to the method's parameters.
        shuffled: whether the order is a new permutation each epoch, or the ids ascending.
        is_annealing: whether the share δ of the run is over. A method is asked then only if it says
            that it `prunes_to_the_end`.
    """

    number: int
    draws: Draws
    target: float | None = None
    shuffled: bool = True
    is_annealing: bool = False
    _whole: list[Tensor] = field(default_factory=list[Tensor], repr=False, compare=False)

    def order(self, among: Tensor) -> Tensor:
        """Return the rows of `among`, bool (rows,), in the order this epoch has for all of them.

        Cost: a random permutation; if that of all samples was asked for before, half of one.
        """
        if not self.shuffled:
            return torch.from_numpy(np.flatnonzero(among.numpy()))
        if self._whole:
            whole = self._whole[0].numpy()
            return torch.from_numpy(compressed(whole, among.numpy().take(whole)))
        order = self.draws.permutation(len(among), "order", among=among)
        if len(order) == len(among):
            self._whole.append(order)
        return order


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """A method's choice, before it is laid out in the order of the epoch.

    Args:
        kept: bool, shape (rows,), by row; all n samples have one, unless the ledger is of a shard.
        weights: float32, shape (rows,), read where `kept`; None means 1 for each.
        order: what `epoch.order` has for all rows, if `kept` and `weights` lie in that order: of a
            method that works along it, which need not go back to rows. None: they are by row.
        certain_weight: the weight of a sample whose inclusion is certain; given to samples that the
            user protects from pruning.
        learning_rate_factor: what the method multiplies the learning rate by in this epoch.
        facts: numbers worth reporting, such as the ρ that was used.
    """

    kept: Tensor
    weights: Tensor | None = None
    order: Tensor | None = None
    certain_weight: float = 1.0
    learning_rate_factor: float = 1.0
    facts: Mapping[str, float] = field(default_factory=dict)

    def by_row(self) -> Selection:
        """Return the same choice by row."""
        if self.order is None:
            return self
        rows, kept, weights = self.order.numpy(), torch.empty_like(self.kept), self.weights
        kept.numpy()[rows] = self.kept.numpy()
        if weights is not None:
            weights = torch.empty_like(weights)
            weights.numpy()[rows] = cast("Tensor", self.weights).numpy()
        return replace(self, kept=kept, weights=weights, order=None)


class Share(NamedTuple):
    """One rank's part of a plan: `ids` (m,), `weights` (m,), and `real` (m,), False on padding."""

    ids: Tensor
    weights: Tensor
    real: Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The samples of one epoch in the order they are trained in, and the weight of each.

    Of a shard it has that part; what every shard trains together is one epoch.

    Args:
        epoch: the epoch's number, from 0.
        ids: int64, shape (S,), unique, of this shard.
        weights: float32, shape (S,), positive and finite.
        num_samples: n, the size of the data set, on all shards.
        learning_rate_factor: what the method multiplies the learning rate by in this epoch.
        scale: what a step exponent multiplied the method's own weights by to give `weights`.
        facts: numbers worth reporting about this plan.
        shard: whose part this is.
        sizes: the samples of every shard's part; () if there is one shard.

    Example:
        >>> plan = Plan(epoch=0, ids=torch.tensor([2, 0]), weights=torch.ones(2), num_samples=3)
        >>> len(plan), plan.share(rank=1, world_size=2, batch_size=1).ids.tolist()
        (2, [0])
    """

    epoch: int
    ids: Tensor
    weights: Tensor
    num_samples: int
    learning_rate_factor: float = 1.0
    scale: float = 1.0
    facts: Mapping[str, float] = field(default_factory=dict)
    shard: Shard = field(default_factory=Shard)
    sizes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_planned(self) -> int:
        """The samples of the epoch on all shards."""
        return sum(self.sizes) if self.sizes else len(self.ids)

    @property
    def rows(self) -> Tensor:
        """Where the samples lie in the ledger's columns: int64, shape (S,); whole, it is `ids`."""
        if self.shard.count == 1:
            return self.ids
        return torch.from_numpy(self.shard.rows(self.ids.numpy()))

    @cached_property
    def is_unweighted(self) -> bool:
        """Whether every weight is exactly 1, so that a weighted mean is the plain one."""
        # One weight for all, as `expand` makes it, says so by its stride.
        weights = self.weights[:1] if self.weights.stride(0) == 0 else self.weights
        return bool((weights.numpy() == 1).all())

    def share(self, rank: int, world_size: int, batch_size: int) -> Share:
        """Return `rank`'s part of every global batch of `world_size * batch_size` samples.

        All ranks get equally many: the last global batch is padded by repeating its own samples,
        which `real` marks as False so that they are neither trained nor scored twice.

        Cost: O(S / world_size).
        """
        if not 0 <= rank < world_size or batch_size < 1:
            raise SettingError(
                f"share(rank={rank}, world_size={world_size}, batch_size={batch_size})",
                "0 <= rank < world_size, and a batch of 1 or more",
            )
        if self.shard.count > 1:
            raise SettingError(
                f"share({rank}, {world_size}, {batch_size}) of the plan of a shard",
                f"its ids as they are: all of them are for rank {self.shard.index}",
                "For equal steps, cut them with thresher.parallel.even_steps.EvenSteps("
                "sizes=plan.sizes, rank=plan.shard.index, batch_size=...)",
            )
        size = len(self)
        whole = size // (world_size * batch_size) * world_size * batch_size
        positions = (
            torch.arange(whole, device="cpu").view(-1, world_size, batch_size)[:, rank].reshape(-1)
        )
        left = size - whole
        if left:
            each = -(-left // world_size)
            slots = torch.arange(rank * each, (rank + 1) * each, device="cpu")
            tail = whole + slots % left
            real = torch.cat([torch.full_like(positions, True, dtype=torch.bool), slots < left])
            positions = torch.cat([positions, tail])
        else:
            real = torch.full_like(positions, True, dtype=torch.bool)
        return Share(self.ids[positions], self.weights[positions], real)

    def checksum(self) -> int:
        """Return an integer of ids, their order and the weights' bits: equal only for equal plans.

        Cost: three passes over the plan, on request only.
        """
        total = 0
        for start in range(0, len(self), _CHUNK):
            ids = self.ids[start : start + _CHUNK].numpy().astype(np.uint64)
            bits = np.ascontiguousarray(self.weights[start : start + _CHUNK].numpy())
            mixed = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= bits.view(np.uint32).astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
            mixed ^= mixed >> np.uint64(29)
            place = np.arange(start, start + len(ids), dtype=np.uint64)
            mixed *= np.uint64(2) * place + np.uint64(1)
            total = (total + int(mixed.sum(dtype=np.uint64))) % 2**63
        return total


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The scores of an epoch in plan order, as they were seen.

    Args:
        scores: name -> float32, shape (S,); NaN where a sample was not scored.
        step: int32, shape (S,): the optimizer step in which each sample was scored; -1 if never.
    """

    scores: Mapping[str, Tensor]
    step: Tensor

    @cached_property
    def seen(self) -> Tensor:
        """Whether each planned sample was scored: bool, shape (S,)."""
        return self.step >= 0

    @cached_property
    def runs(self) -> Runs:
        """The stretches of one optimizer step each."""
        return Runs(self.step.numpy())

    def window_mean(self, name: str, window: int | None, over: Population = EVERYONE) -> Tensor:
        """Return the mean score of the window each sample was scored in: float64, shape (S,).

        A window is `window` consecutive optimizer steps, None the whole epoch, of all shards.
        Samples that were not scored, or whose score is not finite, enter no mean; without any, the
        mean is NaN. The mean is taken in float64: rounded to float32, a window of equal losses
        would often lie below its own mean.

        Cost: O(S); the sums are exact, whatever the number of threads and of shards, which tell
            each other two or three numbers a window.
        """
        means = np.empty(len(self.step))
        for part, mean in self._means(name, window, over):
            means[part] = mean
        return torch.from_numpy(means)

    def below_window_mean(
        self, name: str, window: int | None, over: Population = EVERYONE
    ) -> Tensor:
        """Return whether each score is below its `window_mean`: bool, shape (S,); NaN is not.

        Cost: as `window_mean`, without its 8 bytes a sample.
        """
        score, below = self.scores[name].numpy(), np.empty(len(self.step), dtype=np.bool_)
        for part, mean in self._means(name, window, over):
            np.less(score[part], mean, out=below[part])
        return torch.from_numpy(below)

    def _means(
        self, name: str, window: int | None, over: Population
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield pieces of the plan, and the mean of each of their samples' windows."""
        score, runs = self.scores[name].numpy(), self.runs
        counted = np.isfinite(score)
        counted &= self.seen.numpy()
        count = runs.sizes
        if not counted.all():
            score = np.where(counted, score, np.float32(0))
            count = runs.sums(counted)
        # The window of each run, from 1; samples never scored share window 0.
        number = runs.step + 1 if window == 1 else runs.step // (window or 2**31) + 1
        sums, num_windows = over.group_sums(
            score, runs.stretches(number), int(number.max(initial=0)) + 1
        )
        counts = np.bincount(number, count, minlength=num_windows).astype(np.int64)
        with np.errstate(invalid="ignore"):
            mean = sums / over.added(counts)
        mean = mean.take(number)
        for piece in runs.pieces():
            yield piece.places, np.repeat(mean[piece.runs], piece.sizes)
