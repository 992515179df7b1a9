"""From the traces of all ranks to the trace of the plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from thresher.parallel.exchange import Exchange
from thresher.parallel.layout import Layout
from thresher.plan import Trace


def merged(
    exchange: Exchange,
    trace: Trace,
    same: Mapping[str, int],
    own: Mapping[str, int],
    layout: Layout,
    seen: int,
    accumulation_steps: int,
) -> tuple[Trace, dict[str, np.ndarray]]:
    """Return the trace of the plan from the parts of all ranks, and what each told of its own.

    The steps are derived, unless some rank did not train its part in order.

    Args:
        exchange: to the other ranks.
        trace: of this rank's part.
        same: numbers that must agree.
        own: numbers of each rank.
        layout: whose part is what.
        seen: positions that were scored on this rank.
        accumulation_steps: micro-batches per optimizer step.

    Cost: 4 bytes for each score of a rank's part in one gather.
    """
    steps = trace.step.numpy()
    in_order = np.array_equal(steps, layout.steps(seen, accumulation_steps))
    told = exchange.agree("gathering scores", same, {**own, "seen": seen, "in order": in_order})
    if told["in order"].all():
        parts = np.stack([layout.steps(count, accumulation_steps) for count in told["seen"]])
    else:
        parts = exchange.gather(steps)
    scores: dict[str, torch.Tensor] = {}
    if trace.scores:
        table = exchange.gather(np.stack([score.numpy() for score in trace.scores.values()]))
        for k, name in enumerate(trace.scores):
            scores[name] = torch.from_numpy(layout.merged(table[:, k], np.nan))
    return Trace(scores=scores, step=torch.from_numpy(layout.merged(parts, -1))), told


def merged_scattered(
    exchange: Exchange, trace: Trace, same: Mapping[str, int], own: Mapping[str, int]
) -> tuple[Trace, dict[str, np.ndarray]]:
    """Return the trace of the plan from what each rank has scored of it, wherever that lies.

    Of a sample that several ranks have scored the latest step counts, of one step the highest rank.

    Args:
        exchange: to the other ranks.
        trace: what this rank has scored, in plan order.
        same: numbers that must agree.
        own: numbers of each rank.

    Cost: 12 bytes for each sample that a rank has scored, and 4 for each of its scores.
    """
    steps = trace.step.numpy()
    places = np.flatnonzero(steps >= 0)
    told = exchange.agree("gathering scores", same, {**own, "count": len(places)})
    size = int(told["count"].max())
    all_places = exchange.gather(_filled(places, size, -1)).reshape(-1)
    all_steps = exchange.gather(_filled(steps[places], size, -1)).reshape(-1)
    order = np.argsort(all_steps, kind="stable")
    order = order[np.searchsorted(all_steps[order], 0) :]
    # Unique of the reversed order finds the last of each place; indexed assignment promises none.
    where, last = np.unique(all_places[order][::-1], return_index=True)
    chosen = order[len(order) - 1 - last]

    def laid(values: np.ndarray, fill: float) -> torch.Tensor:
        whole = np.full(len(steps), fill, dtype=values.dtype)
        whole[where] = values[chosen]
        return torch.from_numpy(whole)

    scores = {
        name: laid(
            exchange.gather(_filled(score.numpy()[places], size, np.nan)).reshape(-1), np.nan
        )
        for name, score in trace.scores.items()
    }
    return Trace(scores=scores, step=laid(all_steps, -1)), told


def _filled(values: np.ndarray, size: int, fill: float) -> np.ndarray:
    return np.pad(values, (0, size - len(values)), constant_values=fill)
