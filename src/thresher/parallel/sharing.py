"""Work on samples that every rank does a part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from thresher.errors import RanksDisagreeError
from thresher.parallel.exchange import Exchange

Scoring = Callable[[Tensor], Mapping[str, Tensor]]


def shared(score: Scoring, exchange: Exchange) -> Scoring:
    """Return a function that scores the same ids on every rank, each a part, and gathers once.

    All ranks score equally many, some repeating samples, so that a model which talks to the other
    ranks in its forward pass does so everywhere. What goes wrong on one rank is raised there, and
    as a RanksDisagreeError on the others.
    """

    def scored(ids: Tensor) -> dict[str, Tensor]:
        exchange.agree("scoring samples anew", {"samples to score anew": len(ids)})
        each = -(-len(ids) // exchange.ranks.world_size)
        first = exchange.ranks.rank * each
        own = _together(
            lambda: score(ids[torch.arange(first, first + each, device="cpu") % len(ids)]), exchange
        )
        table = exchange.gather(np.stack([values.numpy() for values in own.values()]))
        whole = table.swapaxes(0, 1).reshape(len(own), -1)[:, : len(ids)]
        return {name: torch.from_numpy(whole[k].copy()) for k, name in enumerate(own)}

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
