"""The trace of a plan that is not done: as it starts, and as a checkpoint has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from thresher.plan import Plan, Trace


@final
class Together:
    """The scores of a plan where a method wants several: one table, so that one call writes all.

    Args:
        names: of the scores.
        size: S, positions of the plan.
    """

    def __init__(self, names: tuple[str, ...], size: int) -> None:
        self._names = names
        self._table = np.full((len(names), size), np.nan, dtype=np.float32)
        self._batch = torch.empty(0, dtype=torch.float32, device="cpu")
        self._host, self._size = self._batch.numpy(), 0

    def scores(self) -> dict[str, Tensor]:
        """Return the trace of each score: float32, shape (S,), of the table's memory."""
        return {
            name: torch.from_numpy(row) for name, row in zip(self._names, self._table, strict=True)
        }

    def write(self, place: slice, scores: Mapping[str, Tensor]) -> bool:
        """Write a batch's scores, (m,) each; if they are not all on the host, return False."""
        each = [
            score.detach() if score.requires_grad else score
            for score in map(scores.__getitem__, self._names)
        ]
        size = place.stop - place.start
        if size != self._size:
            self._size = size
            self._batch = torch.empty(len(each) * size, dtype=torch.float32, device="cpu")
            self._host = self._batch.numpy().reshape(len(each), size)
        try:
            torch.cat(each, out=self._batch)
        except RuntimeError:
            return False
        self._table[:, place] = self._host
        return True


def saved(plan: Plan, trace: Trace) -> dict[str, object]:
    """Return a trace by sample id, shape (n,): NaN = unseen, and the step of each sample."""
    step = torch.full((plan.num_samples,), -1, dtype=torch.int32, device="cpu")
    step[plan.ids] = trace.step
    pending = {}
    for name, score in trace.scores.items():
        pending[name] = no_scores(plan.num_samples)
        # NaN says unseen, so a score that was seen and is NaN is kept as infinite: also broken.
        broken = trace.seen & score.isnan()
        pending[name][plan.ids] = score.masked_fill(broken, torch.inf)
    return {"step": step, "scores": pending}


def laid_out(plan: Plan, state: Mapping[str, object], names: tuple[str, ...]) -> Trace:
    """Return what `saved` made, in plan order again."""
    step, scores = state["step"], state["scores"]
    assert isinstance(step, Tensor)
    assert isinstance(scores, Mapping)
    return Trace(scores={name: scores[name][plan.ids] for name in names}, step=step[plan.ids])


def no_scores(size: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the trace of a score that nobody has yet: float32, shape (size,)."""
    # float32 and the host, whatever the user made torch's defaults.
    return torch.full((size,), torch.nan, dtype=torch.float32, device=device)
