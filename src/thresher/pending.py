"""An unfinished epoch in a saved state: its scores so far, and if need be its plan, by sample."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thresher.plan import Plan, Trace


def saved(plan: Plan, trace: Trace) -> dict[str, object]:
    """Return a trace by row, shape (rows,): NaN = unseen, and the step of each sample."""
    size, rows = plan.shard.num_rows(plan.num_samples), plan.rows
    step = torch.full((size,), -1, dtype=torch.int32, device="cpu")
    step[rows] = trace.step
    pending = {}
    for name, score in trace.scores.items():
        pending[name] = no_scores(size)
        # NaN says unseen, so a score that was seen and is NaN is kept as infinite: also broken.
        broken = trace.seen & score.isnan()
        pending[name][rows] = score.masked_fill(broken, torch.inf)
    return {"step": step, "scores": pending}


def laid_out(plan: Plan, state: Mapping[str, object], names: tuple[str, ...]) -> Trace:
    """Return what `saved` made, in plan order again."""
    step, scores, rows = state["step"], state["scores"], plan.rows
    assert isinstance(step, Tensor)
    assert isinstance(scores, Mapping)
    return Trace(scores={name: scores[name][rows] for name in names}, step=step[rows])


def plan_of(plan: Plan) -> dict[str, object]:
    """Return a plan by row: the weights, float32, (rows,), NaN = not planned, and its facts."""
    weights = no_scores(plan.shard.num_rows(plan.num_samples))
    weights[plan.rows] = plan.weights
    return {
        "weights": weights,
        "learning_rate_factor": plan.learning_rate_factor,
        "scale": plan.scale,
        "facts": dict(plan.facts),
    }


def no_scores(size: int, device: torch.device | str = "cpu") -> Tensor:
    """Return NaN, float32, (size,), whatever the user made torch's defaults."""
    return torch.full((size,), torch.nan, dtype=torch.float32, device=device)
