"""What each epoch trained on, and what the whole run saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from thresher.plan import Plan, Trace
from thresher.population import EVERYONE, Population
from thresher.schedule import RATE_TOLERANCE

_RANKS_HEAD = f" {'dropped':>8} {'bytes sent':>12} {'planning s':>10} {'gathering s':>11}"

# Float64 squares of this many weights at a time.
_CHUNK = 1 << 17


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """The numbers of one epoch over all ranks; `asked` is the epoch's target or NaN.

    Of a stream `passed` samples were read; 0 where the data set has a length.
    Seconds are wall-clock, of this rank. `dropped` samples were planned but left out with the last
    batch; `bytes_sent` were handed over by this rank, and `gathering_seconds` include waiting.
    """

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
    dropped: int = 0
    passed: int = 0
    bytes_sent: int = 0
    planning_seconds: float
    closing_seconds: float
    gathering_seconds: float = 0.0


class Weighing(NamedTuple):
    """What the weights of an epoch come to: Σw, Σw² and the largest, on all shards."""

    total: float
    square: float
    largest: float


def weighed(plan: Plan, over: Population = EVERYONE) -> Weighing:
    """Return what the weights of a plan, and of those of other shards, come to."""
    # The default method has no scores and weight 1: nothing needs a pass over the plan then.
    total = square = float(len(plan))
    largest = float(len(plan) > 0)
    if not plan.is_unweighted:
        weights = plan.weights.numpy()
        total = float(weights.sum(dtype=np.float64))
        square = sum(
            float(np.square(weights[start : start + _CHUNK], dtype=np.float64).sum())
            for start in range(0, len(weights), _CHUNK)
        )
        largest = float(weights.max())
    _, most = over.extremes(np.array([largest]))
    return Weighing(over.plus(total), over.plus(square), most)


def row_of(
    plan: Plan, trace: Trace | None, *, weighing: Weighing | None = None, skipped_batches: int = 0
) -> Row:
    """Return the row of an epoch from its plan and what was seen of it; None: nothing.

    The effective sample size is (Σw)² / Σw², as in importance sampling (Kish).
    """
    total, square, largest = weighing or weighed(plan)
    return Row(
        epoch=plan.epoch,
        planned=plan.num_planned,
        trained=0 if trace is None else int(np.count_nonzero(trace.seen.numpy())),
        skipped_batches=skipped_batches,
        non_finite=0 if trace is None else num_non_finite(trace),
        weight_mean=total / plan.num_planned,
        weight_max=largest,
        effective_samples=total**2 / square,
        asked=plan.facts.get("target", float("nan")),
        extra_forwards=0,
        planning_seconds=0.0,
        closing_seconds=0.0,
    )


def num_non_finite(trace: Trace) -> int:
    """Return how many trained samples have a score that is NaN or infinite."""
    finite = np.ones(len(trace.step), dtype=np.bool_)
    for score in trace.scores.values():
        finite &= np.isfinite(score.numpy())
    return 0 if finite.all() else int(np.count_nonzero(~finite & trace.seen.numpy()))


def metrics(row: Row, num_samples: int, facts: Mapping[str, float]) -> dict[str, float]:
    """Return what a closed epoch tells a logger."""
    size = row.passed or num_samples
    return {
        "epoch": row.epoch,
        "planned_ratio": row.planned / size,
        "trained_ratio": row.trained / size,
        "skipped_batches": row.skipped_batches,
        "non_finite": row.non_finite,
        "extra_forwards": row.extra_forwards,
        "weight_mean": row.weight_mean,
        "weight_max": row.weight_max,
        "effective_ratio": row.effective_samples / row.planned,
        "dropped": row.dropped,
        "bytes_sent": row.bytes_sent,
        "gathering_seconds": row.gathering_seconds,
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
        num_samples: n; 0: a stream.
        epochs: epochs of the run; None if it is open-ended or counted in steps.
        asked: the prune ratio that was asked, or None.
        rows: one an epoch; the last may still be in progress.
        notes: what its owner should know.
        ends_in_epoch: whether the run may end within an epoch, as one of a number of steps does.
    """

    method: str
    num_samples: int
    epochs: int | None
    asked: float | None
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ends_in_epoch: bool = False

    @property
    def planned(self) -> int:
        """Sample visits that were planned."""
        return sum(row.planned for row in self.rows)

    @property
    def trained(self) -> int:
        """Sample visits that were trained."""
        return sum(row.trained for row in self.rows)

    @property
    def passed(self) -> int:
        """Samples of a stream that passed by; 0 where the data set has a length."""
        return sum(row.passed for row in self.rows)

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
        """Wall-clock spent digesting the scores of finished epochs, gathering them included."""
        return sum(row.closing_seconds for row in self.rows)

    @property
    def prune_rate(self) -> float:
        """1 - trained / (n · epochs), over the epochs that have begun.

        Of an epoch that the end of the run cuts short, only the part that was trained has begun. Of
        a stream it is 1 - trained / passed.
        """
        if not self.num_samples:
            return 1 - self.trained / self.passed if self.passed else 0.0
        begun = float(len(self.rows))
        if self.ends_in_epoch and self.rows:
            begun -= 1 - self.rows[-1].trained / self.rows[-1].planned
        return 1 - self.trained / (self.num_samples * begun) if begun else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the last row as `log` is told of an epoch, without the method's own facts.

        For the last epoch of a run, which nothing follows that would close it.
        """
        return metrics(self.rows[-1], self.num_samples, {}) if self.rows else {}

    def with_notes(self, *, is_complete: bool) -> Report:
        """Return the report with notes on all that was not as asked or planned."""
        notes = [*self._notes_on_rate()] if is_complete else []
        skipped = sum(row.skipped_batches for row in self.rows)
        broken = sum(row.non_finite for row in self.rows)
        extra = 0 if self.epochs is None else max(0, len(self.rows) - self.epochs)
        if skipped:
            notes.append(f"batches fetched but never reduced, so not trained: {skipped:,}")
        if broken:
            notes.append(f"scores that were NaN or infinite and counted as unseen: {broken:,}")
        if extra:
            notes.append(f"epochs on all samples, beyond the planned {self.epochs}: {extra}")
        return replace(self, notes=[*self.notes, *notes])

    def _notes_on_rate(self) -> Iterator[str]:
        off = 0.0 if self.asked is None else self.prune_rate - self.asked
        numbers = f"asked {_percent(self.asked or 0.0)}, saved {_percent(self.prune_rate)}"
        if off < -RATE_TOLERANCE:
            yield f"{numbers}: the most {self.method.split('(')[0]} could prune in this run"
        elif off > RATE_TOLERANCE:
            yield f"{numbers}: more than was asked"
        whole = self.rows[:-1] if self.ends_in_epoch else self.rows
        left = sum(row.planned - row.trained for row in whole)
        share = left / (self.passed or self.num_samples * max(1, len(self.rows)) or 1)
        if share > RATE_TOLERANCE:
            yield (
                f"{_percent(share)} of all visits were planned but not trained: the loop left "
                "epochs early or skipped batches, or drop_last left out the last ones"
            )

    def __str__(self) -> str:
        asked = "" if self.asked is None else f" (asked: {self.asked:.0%} over the run)"
        of = "" if self.epochs is None else f" of {self.epochs}"
        on_ranks = any(row.bytes_sent for row in self.rows)
        data = "a stream" if self.passed else f"{self.num_samples:,} samples"
        passed = f" of {self.passed:,} that passed by" if self.passed else ""
        lines = [
            f"{self.method} on {data}, epoch {len(self.rows)}{of}",
            f"trained {self.trained:,} sample visits{passed}, saved {self.prune_rate:.1%}{asked}",
            f"planning {self.planning_seconds:.2f} s, closing {self.closing_seconds:.2f} s",
            *self._extra(),
            "",
            f"{'epoch':>5} {'planned':>11} {'trained':>11} {'saved':>7} {'weight mean':>11} "
            f"{'max':>7} {'effective':>11}" + _RANKS_HEAD * on_ranks,
        ]
        lines += [
            f"{row.epoch:>5} {row.planned:>11,} {row.trained:>11,} "
            f"{1 - row.trained / (row.passed or self.num_samples or 1):>7.1%} "
            f"{row.weight_mean:>11.3f} {row.weight_max:>7.2f} {row.effective_samples:>11,.0f}"
            + _of_ranks(row)
            * on_ranks
            for row in self.rows
        ]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def _extra(self) -> Iterator[str]:
        if self.extra_forwards:
            each = self.extra_forwards / max(1, self.trained)
            yield f"extra forward passes {self.extra_forwards:,}, {each:.2f} a trained sample"


def _of_ranks(row: Row) -> str:
    seconds = f"{row.planning_seconds:>10.3f} {row.gathering_seconds:>11.3f}"
    return f" {row.dropped:>8,} {row.bytes_sent:>12,} {seconds}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def rows_to_tensor(rows: list[Row], capacity: int) -> Tensor:
    """Return the last `capacity` rows as float64 (capacity, fields), NaN where there is none."""
    table = np.full((capacity, len(fields(Row))), np.nan)
    kept = rows[-capacity:]
    if kept:
        table[: len(kept)] = [astuple(row) for row in kept]
    return torch.from_numpy(table)


def rows_from_tensor(table: Tensor) -> list[Row]:
    """Return the rows that `rows_to_tensor` stored."""
    # Fields are whole numbers or seconds and ratios; the table holds both as float64.
    names = [field.name for field in fields(Row)]
    if table.shape[1] < len(names):  # saved before streams could be trained on
        names.remove("passed")
    counts = {field.name for field in fields(Row) if field.type == "int"}
    rows: list[Row] = []
    for values in table[~table[:, 0].isnan()].tolist():
        named: dict[str, Any] = dict(zip(names, values, strict=True))
        rows.append(Row(**{k: int(v) if k in counts else v for k, v in named.items()}))
    return rows
