"""What each epoch trained on, and what the whole run saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from thresher.plan import Plan, Trace


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """The numbers of one epoch; seconds are wall-clock, `asked` is the epoch's target or NaN."""

    epoch: int
    planned: int
    trained: int
    skipped_batches: int
    non_finite: int
    weight_mean: float
    weight_max: float
    effective_samples: float
    asked: float
    extra_forwards: int
    planning_seconds: float
    closing_seconds: float


def row_of(
    plan: Plan,
    trace: Trace,
    *,
    skipped_batches: int = 0,
    planning_seconds: float = 0.0,
    closing_seconds: float = 0.0,
) -> Row:
    """Return the row of an epoch from its plan and what was seen of it.

    The effective sample size is (Σw)² / Σw², as in importance sampling (Kish).
    """
    # The default method has no scores and weight 1: nothing needs a pass over the plan then.
    total = square = float(len(plan))
    largest = 1.0
    if not plan.is_unweighted:
        weights = plan.weights.numpy()
        total = float(weights.sum(dtype=np.float64))
        square = float(np.square(weights, dtype=np.float64).sum())
        largest = float(weights.max())
    return Row(
        epoch=plan.epoch,
        planned=len(plan),
        trained=int(np.count_nonzero(trace.seen.numpy())),
        skipped_batches=skipped_batches,
        non_finite=num_non_finite(trace),
        weight_mean=total / len(plan),
        weight_max=largest,
        effective_samples=total**2 / square,
        asked=plan.facts.get("target", float("nan")),
        extra_forwards=0,
        planning_seconds=planning_seconds,
        closing_seconds=closing_seconds,
    )


def num_non_finite(trace: Trace) -> int:
    """Return how many trained samples have a score that is NaN or infinite."""
    broken = np.zeros(len(trace.step), dtype=bool)
    for score in trace.scores.values():
        broken |= ~np.isfinite(score.numpy())
    return int(np.count_nonzero(broken & trace.seen.numpy()))


def metrics(row: Row, num_samples: int, facts: Mapping[str, float]) -> dict[str, float]:
    """Return what a closed epoch tells a logger."""
    return {
        "epoch": row.epoch,
        "planned_ratio": row.planned / num_samples,
        "trained_ratio": row.trained / num_samples,
        "skipped_batches": row.skipped_batches,
        "non_finite": row.non_finite,
        "weight_mean": row.weight_mean,
        "weight_max": row.weight_max,
        "effective_ratio": row.effective_samples / row.planned,
        "planning_seconds": row.planning_seconds,
        "closing_seconds": row.closing_seconds,
        **facts,
    }


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run asked for, what it saved, and what that cost; `print` it.

    Args:
        method: the method's settings.
        num_samples: n.
        epochs: epochs of the run; None if it is open-ended or counted in steps.
        asked: the prune ratio that was asked, or None.
        rows: one an epoch; the last may still be in progress.
        notes: what its owner should know.
    """

    method: str
    num_samples: int
    epochs: int | None
    asked: float | None
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def planned(self) -> int:
        """Sample visits that were planned."""
        return sum(row.planned for row in self.rows)

    @property
    def trained(self) -> int:
        """Sample visits that were trained."""
        return sum(row.trained for row in self.rows)

    @property
    def extra_forwards(self) -> int:
        """Sample visits of scoring forward passes."""
        return sum(row.extra_forwards for row in self.rows)

    @property
    def planning_seconds(self) -> float:
        """Wall-clock spent choosing samples."""
        return sum(row.planning_seconds for row in self.rows)

    @property
    def closing_seconds(self) -> float:
        """Wall-clock spent digesting the scores of finished epochs."""
        return sum(row.closing_seconds for row in self.rows)

    @property
    def prune_rate(self) -> float:
        """1 - trained / (n · epochs), over the epochs that have begun."""
        visits = self.num_samples * len(self.rows)
        return 1 - self.trained / visits if visits else 0.0

    def __str__(self) -> str:
        asked = "" if self.asked is None else f" (asked: {self.asked:.0%} over the run)"
        of = "" if self.epochs is None else f" of {self.epochs}"
        lines = [
            f"{self.method} on {self.num_samples:,} samples, epoch {len(self.rows)}{of}",
            f"trained {self.trained:,} sample visits, saved {self.prune_rate:.1%}{asked}",
            f"planning {self.planning_seconds:.2f} s, closing {self.closing_seconds:.2f} s",
            "",
            f"{'epoch':>5} {'planned':>11} {'trained':>11} {'saved':>7} {'weight mean':>11} "
            f"{'max':>7} {'effective':>11}",
        ]
        lines += [
            f"{row.epoch:>5} {row.planned:>11,} {row.trained:>11,} "
            f"{1 - row.trained / self.num_samples:>7.1%} {row.weight_mean:>11.3f} "
            f"{row.weight_max:>7.2f} {row.effective_samples:>11,.0f}"
            for row in self.rows
        ]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def rows_to_tensor(rows: list[Row], capacity: int) -> Tensor:
    """Return the last `capacity` rows as float64 (capacity, fields), NaN where there is none."""
    table = torch.full((capacity, len(fields(Row))), torch.nan, dtype=torch.float64)
    kept = rows[-capacity:]
    if kept:
        table[: len(kept)] = torch.tensor([astuple(row) for row in kept], dtype=torch.float64)
    return table


def rows_from_tensor(table: Tensor) -> list[Row]:
    """Return the rows that `rows_to_tensor` stored."""
    # Fields are whole numbers or seconds and ratios; the table holds both as float64.
    names = [field.name for field in fields(Row)]
    counts = {field.name for field in fields(Row) if field.type == "int"}
    rows: list[Row] = []
    for values in table[~table[:, 0].isnan()].tolist():
        named: dict[str, Any] = dict(zip(names, values, strict=True))
        rows.append(Row(**{k: int(v) if k in counts else v for k, v in named.items()}))
    return rows
