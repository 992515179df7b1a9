"""From a ledger to an epoch's plan: selection, protection, order and weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher._order import compressed
from thresher.draws import Draws
from thresher.errors import SettingError
from thresher.ledger import Ledger
from thresher.methods._method import Method
from thresher.plan import Epoch, Plan, Selection
from thresher.schedule import Budget, is_active, is_annealing, target
from thresher.shard import Shard
from thresher.weights import clipped, step_factor, to_step_exponent


@final
@dataclass(frozen=True, kw_only=True)
class Protection:
    """Samples that are never pruned: named ids, and a floor for every class.

    Args:
        always_keep: int64 ids.
        min_per_class: samples of each class that every epoch keeps, or all if it has fewer.
        labels: int64, shape (n,): the class of each sample.
    """

    always_keep: Tensor | None = None
    min_per_class: int = 0
    labels: Tensor | None = None

    @classmethod
    def of(
        cls,
        method: Method,
        always_keep: Tensor | Sequence[int] | None,
        min_per_class: int,
        labels: Tensor | Sequence[int] | None,
    ) -> Protection:
        """Check what the user gave and take it over as tensors."""
        if method.family == "online" and (always_keep is not None or min_per_class):
            raise SettingError(
                f"always_keep or min_per_class with {type(method).__name__}",
                "a method that plans whole epochs",
                "An online method chooses among the candidates that pass by, and cannot promise "
                "that an epoch has certain samples",
            )
        if min_per_class < 0 or (min_per_class > 0) != (labels is not None):
            raise SettingError(
                f"min_per_class={min_per_class} {'without' if labels is None else 'with'} labels",
                "both or neither",
                "labels is the class of each sample of the data set, shape (n,)",
            )
        ids, classes = _whole_numbers("always_keep", always_keep), _whole_numbers("labels", labels)
        return cls(always_keep=ids, min_per_class=min_per_class, labels=classes)

    def check(self, num_samples: int) -> None:
        """Refuse ids and labels that do not fit a data set of `num_samples`."""
        ids, labels = self.always_keep, self.labels
        if ids is not None and len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < num_samples:
            raise SettingError(
                f"always_keep holds ids from {int(ids.min())} to {int(ids.max())}",
                f"ids of the {num_samples} samples, from 0 to {num_samples - 1}",
                "An id is a sample's position in the data set",
            )
        if labels is not None and len(labels) != num_samples:
            raise SettingError(
                f"{len(labels)} labels for a data set of {num_samples} samples",
                "the class of each sample",
                "Give them in the order of the data set: labels[i] is the class of dataset[i]",
            )

    @cached_property
    def checksum(self) -> int:
        """An integer that is the same for the same protected samples."""
        given = [self.always_keep, self.labels] if self.min_per_class else [self.always_keep]
        parts = (b"" if ids is None else ids.numpy().tobytes() for ids in given)
        return zlib.crc32(b"".join(parts), self.min_per_class)

    def apply(self, selection: Selection, draws: Draws, shard: Shard) -> Selection:
        """Return the selection with the protected samples in it, at the weight of a certain one."""
        if self.always_keep is None and self.labels is None:
            return selection
        selection = selection.by_row()
        kept = selection.kept
        certain = torch.zeros_like(kept)
        if self.always_keep is not None:
            ids = self.always_keep.numpy()
            certain.numpy()[shard.rows(ids[shard.own(ids)])] = True
        if self.labels is not None:
            # Drawn for all samples, whose labels are all here, so that shards agree.
            certain |= self._floor(draws.shared)[shard.index :: shard.count]
        weights = selection.weights
        if weights is None:
            weights = _ones(len(kept))
        weights = torch.where(certain, selection.certain_weight, weights)
        return replace(selection, kept=kept | certain, weights=weights)

    def _floor(self, draws: Draws) -> Tensor:
        """Each class's floor of random samples: bool, shape (n,).

        Drawn apart from the method's own choice. A floor that only filled up what the method left
        too low would bring its samples in more often than their weights make up for.
        """
        assert self.labels is not None
        chance = draws.uniform(len(self.labels), "class floor", dtype=torch.float64).numpy()
        floor = np.zeros(len(chance), dtype=bool)
        for members in self._classes:
            if len(members) > self.min_per_class:
                smallest = np.argpartition(chance[members], self.min_per_class - 1)
                members = members[smallest[: self.min_per_class]]
            floor[members] = True
        return torch.from_numpy(floor)

    @cached_property
    def _classes(self) -> list[np.ndarray]:
        """The ids of each class, int64."""
        assert self.labels is not None
        labels = self.labels.numpy()
        order = np.argsort(labels, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


@final
@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes plans: a pure function of (ledger, seed, epoch) once its settings are fixed.

    Args:
        method: the rule.
        seed: keys every draw, with the epoch and the draw's purpose.
        shuffled: whether the order is a new permutation each epoch, or the ids ascending.
        step_exponent: γ, or None for the method's own weights.
        max_weight: the largest weight of the method's own that is left as it is; None clips none.
        protection: samples that are never pruned.
    """

    method: Method
    seed: int
    shuffled: bool = True
    step_exponent: float | None = None
    max_weight: float | None = None
    protection: Protection = field(default_factory=Protection)

    def plan(self, ledger: Ledger, budget: Budget, *, epoch: int, visits: int) -> Plan:
        """Return the plan of `epoch`, `visits` sample visits having been planned before it.

        Cost: O(n) and a random permutation.
        """
        over = ledger.population
        draws = Draws(self.seed, epoch, over.stream)
        told = Epoch(number=epoch, draws=draws, shuffled=self.shuffled)
        selection = self._select(ledger, budget, told, visits)
        sizes = over.each(int(np.count_nonzero(selection.kept.numpy())))
        if not any(sizes):
            # A rule that drew nobody would leave an epoch without a step: its first sample trains.
            first = np.zeros(ledger.num_rows, dtype=np.bool_)
            first[told.order(ledger.everyone).numpy()[:1]] = True
            selection = selection.by_row()
            selection.kept.numpy()[over.first(first, 1)] = True
            sizes = over.each(int(np.count_nonzero(selection.kept.numpy())))
        rows, weights = _laid_out(selection, told)
        weights, scale, facts = self._weights(weights, ledger)
        # Nobody needs the rows any more, and the ids of 10⁸ samples would be 0.8 GB beside them.
        ids = over.shard.ids(rows.numpy(), out=rows.numpy())
        return Plan(
            epoch=epoch,
            ids=torch.from_numpy(ids),
            weights=weights,
            num_samples=ledger.num_samples,
            shard=over.shard,
            sizes=tuple(sizes) if over.shard.count > 1 else (),
            learning_rate_factor=self._learning_rate_factor(selection),
            scale=scale,
            facts={**selection.facts, **facts},
        )

    def again(self, given: Mapping[str, Any], ledger: Ledger, *, epoch: int) -> Plan:
        """Return a plan that other shards made, as `pending.plan_of` saved it, on those there are.

        Its order is that of these shards.
        """
        over, weights = ledger.population, given["weights"]
        told = Epoch(
            number=epoch,
            draws=Draws(self.seed, epoch, over.stream),
            shuffled=self.shuffled,
        )
        rows = told.order(~weights.isnan())
        return Plan(
            epoch=epoch,
            ids=torch.from_numpy(over.shard.ids(rows.numpy())),
            weights=torch.from_numpy(weights.numpy().take(rows.numpy())),
            num_samples=ledger.num_samples,
            shard=over.shard,
            sizes=tuple(over.each(len(rows))) if over.shard.count > 1 else (),
            learning_rate_factor=given["learning_rate_factor"],
            scale=given["scale"],
            facts=dict(given["facts"]),
        )

    def _select(self, ledger: Ledger, budget: Budget, told: Epoch, visits: int) -> Selection:
        if not is_active(self.method, budget, epoch=told.number, visits=visits):
            return Selection(kept=ledger.everyone)
        told = replace(
            told,
            target=target(self.method, budget, epoch=told.number, visits=visits),
            is_annealing=is_annealing(self.method, budget, epoch=told.number, visits=visits),
        )
        chosen = self.method.select(ledger, told)
        ledger.settle()
        facts = dict(chosen.facts)
        if told.target is not None:
            facts["target"] = told.target
        weights = chosen.weights
        if weights is not None and (weights.numpy() == 1).all():
            weights = None
        return self.protection.apply(
            replace(chosen, weights=weights, facts=facts), told.draws, ledger.population.shard
        )

    def _weights(self, weights: Tensor, ledger: Ledger) -> tuple[Tensor, float, dict[str, float]]:
        """The method's weights as they are trained, what a step exponent made of them, facts."""
        facts = dict[str, float]()
        if self.max_weight is not None:
            facts["clipped"] = ledger.population.count(weights.numpy() > self.max_weight)
            if facts["clipped"]:
                weights = clipped(weights, self.max_weight)
        if self.step_exponent is None:
            return weights, 1.0, facts
        size, exponent = ledger.num_samples, self.step_exponent
        factor = step_factor(weights, size, exponent, ledger.population)
        return to_step_exponent(weights, size, exponent, ledger.population), factor, facts

    def _learning_rate_factor(self, selection: Selection) -> float:
        return selection.learning_rate_factor if self.step_exponent is None else 1.0


def _ones(size: int) -> Tensor:
    """Weights of 1 that take no memory."""
    return torch.ones(1, dtype=torch.float32, device="cpu").expand(size)


def _laid_out(selection: Selection, told: Epoch) -> tuple[Tensor, Tensor]:
    """Return the rows that are kept, and their weights, in the order of the epoch."""
    kept, weights = selection.kept, selection.weights
    if selection.order is None:
        rows = told.order(kept)
        if weights is not None:
            weights = torch.from_numpy(weights.numpy().take(rows.numpy()))
    else:
        rows = torch.from_numpy(compressed(selection.order.numpy(), kept.numpy()))
        if weights is not None:
            weights = torch.from_numpy(compressed(weights.numpy(), kept.numpy()))
    return rows, _ones(len(rows)) if weights is None else weights


def _whole_numbers(name: str, values: Tensor | Sequence[int] | None) -> Tensor | None:
    if values is None:
        return None
    tensor = torch.as_tensor(values, device="cpu")
    if not tensor.numel():
        tensor = tensor.long()
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise SettingError(
            f"{name} of shape {tuple(tensor.shape)} and dtype {tensor.dtype}",
            "whole numbers, in one dimension",
            "For a mask, pass mask.nonzero().squeeze(1)" if tensor.dtype == torch.bool else "",
        )
    return tensor.to(torch.int64, copy=True)
