"""The cost–quality front: which rows are worth their cost, and how sure that is.

A row is *dominated* if another one costs no more and is better. Three things are told of each row:

- whether it is dominated in the means over seeds;
- whether that is shown: some row that costs no more is better by a paired one-sided t test, with
  Holm's correction over all ordered pairs of rows. So with probability at least 1 − α/2 no row is
  called dominated by one that is not truly better, at the costs as they were measured;
- how steady its place is: the share of tables, each of seeds drawn anew with replacement from those
  there are, in which no row that costs no more has a better mean. It describes, and proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from thresher.bench.statistics import ALPHA, Difference, holm, resolution

RESAMPLES = 1000

_SAME_COST = 1e-9
"""Costs that differ by this share or less are equal: sums of floats."""


@final
@dataclass(frozen=True)
class Point:
    """A row on the plane of cost and quality.

    Args:
        cost: mean, in any unit.
        quality: by seed; more is better.
    """

    cost: float
    quality: Mapping[int, float]


@final
@dataclass(frozen=True)
class Place:
    """Where a row is.

    Args:
        word: `yes` (no row that costs no more has a better mean), `no` (one is shown to be better),
            `perhaps` (one has a better mean, but is not shown to be), or a dash where nothing can
            be told.
        share: of the resampled tables in which it is not dominated; NaN for a dash.
    """

    word: str
    share: float


def places(points: Sequence[Point], alpha: float = ALPHA) -> list[Place]:
    """Return the place of each row, by the seeds that all rows have.

    Args:
        points: rows; those without finite cost are left out.
        alpha: twice the chance that some row is wrongly called dominated.

    Example:
        >>> cheap, dear = Point(1, {0: 90.0, 1: 90.2, 2: 90.1}), Point(2, {0: 80.0, 1: 80.1, 2: 80})
        >>> [place.word for place in places([cheap, dear])]
        ['yes', 'no']
    """
    used = [index for index, point in enumerate(points) if _is_usable(point)]
    seeds = sorted(
        set.intersection(*(set(points[index].quality) for index in used)) if used else ()
    )
    if not seeds:
        return [Place("–", math.nan)] * len(points)
    costs = np.array([points[index].cost for index in used])
    quality = np.array([[_finite(points[index].quality[seed]) for seed in seeds] for index in used])
    # [i, j]: i costs no more than j.
    is_cheap = costs[:, None] <= costs[None, :] * (1 + _SAME_COST)
    np.fill_diagonal(is_cheap, False)
    shown: np.ndarray = np.any(_shown_better(quality, alpha) & is_cheap, axis=0)
    front = _undominated(quality.mean(axis=1)[None], is_cheap)[0]
    shares = _undominated(_resampled(quality), is_cheap).mean(axis=0)
    found = [Place("–", math.nan)] * len(points)
    for place, index in enumerate(used):
        word = "no" if shown[place] else "yes" if front[place] else "perhaps"
        found[index] = Place(word, float(shares[place]))
    return found


def _is_usable(point: Point) -> bool:
    return math.isfinite(point.cost) and bool(point.quality)


def _finite(quality: float) -> float:
    """Return what a run that diverged counts as: worse than all."""
    return quality if math.isfinite(quality) else -math.inf


def _shown_better(quality: np.ndarray, alpha: float) -> np.ndarray:
    """Return (R, R) bool: row i is shown to be better than row j."""
    num = len(quality)
    pairs = [(i, j) for i in range(num) for j in range(num) if i != j]
    # Python's floats, which say nothing of ∞ − ∞.
    rows = quality.tolist()
    differences = [tuple(a - b for a, b in zip(rows[i], rows[j], strict=True)) for i, j in pairs]
    step = resolution(quality.ravel().tolist())
    p_values = [Difference(values, step).p_above(0.0) for values in differences]
    shown = np.zeros((num, num), dtype=bool)
    for (i, j), is_shown in zip(pairs, holm(p_values, alpha / 2), strict=True):
        shown[i, j] = is_shown
    return shown


def _undominated(means: np.ndarray, is_cheap: np.ndarray) -> np.ndarray:
    """Return (tables, R) bool from means (tables, R): nobody as cheap has a better mean."""
    best = np.where(is_cheap[None], means[:, :, None], -np.inf).max(axis=1)
    return means >= best


def _resampled(quality: np.ndarray) -> np.ndarray:
    """Return (RESAMPLES, R): means over seeds drawn with replacement, the same for all rows."""
    num_seeds = quality.shape[1]
    drawn = np.random.default_rng(0).integers(num_seeds, size=(RESAMPLES, num_seeds))
    return quality[:, drawn].mean(axis=2).T
