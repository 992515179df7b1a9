"""Epochs of an online method over a user's stream, whose samples have no ids and no number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from thresher.choosing import ChosenProgress
from thresher.errors import DatasetChangedError
from thresher.ledger import Ledger
from thresher.online._method import OnlineMethod
from thresher.outline import Outline
from thresher.parallel.exchange import Exchange
from thresher.parallel.team import Team
from thresher.schedule import Budget, is_active
from thresher.settings import Data
from thresher.stream import WAITING, Standing


@final
@dataclass(frozen=True, kw_only=True)
class StreamedEpochs:
    """Epochs of so many batches, or of one pass, of candidates that a stream yields in its order.

    Args:
        method: the rule.
        batch_size: b, samples of a training batch.
        kept: κ, the share of the candidates that an active epoch is to train on.
        asked: 1 - κ if that is of a ratio that was asked.
        num_batches: T, batches of an epoch on each rank; None: one pass.
        step_exponent: γ, or None for the method's own weights, whose mean is about 1.
        max_weight: the largest of these that is left as it is; None clips none.
        exchange: to the other ranks, if there are any.
    """

    method: OnlineMethod
    batch_size: int
    kept: float
    asked: float | None = None
    num_batches: int | None = None
    step_exponent: float | None = None
    max_weight: float | None = None
    exchange: Exchange | None = None

    @property
    def shuffled(self) -> bool:
        """No: a stream has an order of its own."""
        return False

    @property
    def num_candidates(self) -> int:
        """B, the samples that are looked at together where epochs are pruned."""
        return max(self.batch_size, self.method.num_candidates(self.batch_size, self.kept))

    def ordered(self, data: Data) -> StreamedEpochs:
        """Return the same epochs.

        Raises:
            DatasetChangedError: the data are of another kind, or cut in another way.
        """
        if not data.is_stream or data.steps_per_epoch != self.num_batches:
            raise DatasetChangedError(
                f"The run is over a stream with steps_per_epoch={self.num_batches}, and now over "
                + (
                    f"one with {data.steps_per_epoch}" if data.is_stream else "a map-style data set"
                ),
                "the same kind of epochs for the whole run",
                "Wrap the loader as in the saved run, or start a new Pruner",
            )
        return self

    def dealt(self, team: Team) -> StreamedEpochs:
        """Return the same epochs, of which this rank chooses and trains its part."""
        return replace(self, exchange=team.exchange)

    def new_ledger(self, num_samples: int) -> Ledger:
        """Return what is remembered before a candidate was seen: nothing of any sample."""
        waiting = torch.full((self.num_candidates,), -1, dtype=torch.int64, device="cpu")
        scalars = {**self.method.scalars, "begun": 0.0}
        return Ledger(num_samples, (), scalars, {**self.method.memory(), WAITING: waiting})

    def begin(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        epoch: int,
        visits: int,
        given: Mapping[str, Any] | None = None,
    ) -> ChosenProgress:
        """Return the epoch, outlined."""
        is_pruned = self.kept < 1 and is_active(self.method, budget, epoch=epoch, visits=visits)
        facts = {"kept": self.kept if is_pruned else 1.0}
        if is_pruned and self.asked is not None:
            facts["target"] = self.asked
        world = 1 if self.exchange is None else self.exchange.ranks.world_size
        outline = Outline(
            epoch=epoch,
            num_batches=self.num_batches,
            batch_size=self.batch_size,
            num_candidates=self.num_candidates if is_pruned else 0,
            num_samples=0,
            size=(self.num_batches or 0) * self.batch_size * world,
            facts=facts,
        )
        if is_pruned:
            outline = replace(
                outline,
                scale=self.kept ** -(self.step_exponent or 0.0),
                max_weight=self.max_weight or math.inf,
                facts={**facts, "candidates": self.num_candidates},
            )
        return ChosenProgress(outline, self.method, None, Standing.of(ledger), self.exchange)


def about_stream(epochs: object) -> dict[str, bool | int | None]:
    """Return what a state says of a stream besides; nothing of another run."""
    if not isinstance(epochs, StreamedEpochs):
        return {}
    return {"is_stream": True, "steps_per_epoch": epochs.num_batches}
