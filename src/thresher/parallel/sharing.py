"""Forward passes that only score samples, done by all ranks together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from thresher.errors import RanksDisagreeError
from thresher.parallel.exchange import Exchange
from thresher.shard import Shard

Scoring = Callable[[Tensor], Mapping[str, Tensor]]
"""Scores samples by their ids, int64, (k,), some of them maybe repeated: name -> float32, (k,)."""

Refreshing = Callable[[Tensor], tuple[Mapping[str, Tensor], int]]
"""Scores samples by their rows, and says how many all ranks have scored."""


def alone(score: Scoring) -> Refreshing:
    """Return a function that scores what one process asks for."""
    return lambda rows: (score(rows) if len(rows) else {}, len(rows))


def shared(score: Scoring, exchange: Exchange) -> Refreshing:
    """Return a function that scores the same ids on every rank, each a part, and gathers once.

    All ranks score equally many, some repeating samples, so that a model which talks to the other
    ranks in its forward pass does so everywhere. What goes wrong on one rank is raised there, and
    as a RanksDisagreeError on the others.
    """

    def scored(ids: Tensor) -> tuple[dict[str, Tensor], int]:
        if not len(ids):
            return {}, 0
        exchange.agree("scoring samples anew", {"samples to score anew": len(ids)})
        each = -(-len(ids) // exchange.ranks.world_size)
        first = exchange.ranks.rank * each
        own = _together(
            lambda: score(ids[torch.arange(first, first + each, device="cpu") % len(ids)]), exchange
        )
        table = exchange.gather(np.stack([values.numpy() for values in own.values()]))
        whole = table.swapaxes(0, 1).reshape(len(own), -1)[:, : len(ids)]
        scores = {name: torch.from_numpy(whole[k].copy()) for k, name in enumerate(own)}
        return scores, len(ids)

    return scored


def apart(score: Scoring, exchange: Exchange, shard: Shard) -> Refreshing:
    """Return a function that scores on each rank samples of its own shard.

    All ranks score equally many: who has fewer repeats some, and who has none takes any sample.
    """

    def scored(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        count = len(rows)
        told = exchange.agree("scoring samples anew", {}, {"count": count})["count"]
        if not told.any():
            return {}, 0
        ids = torch.from_numpy(shard.ids(rows.numpy())) if count else rows.new_zeros(1)
        found = score(ids[torch.arange(int(told.max()), device="cpu") % len(ids)])
        return {name: values[:count] for name, values in found.items()}, int(told.sum())

    return scored


def _together(work: Callable[[], Mapping[str, Tensor]], exchange: Exchange) -> Mapping[str, Tensor]:
    """Do work that may fail on one rank, which the others would wait for in the next gather."""
    failure: Exception | None = None
    found: Mapping[str, Tensor] = {}
    try:
        found = work()
    except Exception as error:  # whatever a data set or a model raises
        failure = error
    try:
        exchange.agree("having scored samples anew", {"failures": failure is not None})
    except RanksDisagreeError:
        if failure is None:
            raise
    if failure is not None:
        raise failure
    return found
