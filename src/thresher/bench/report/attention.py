"""Which samples the runs trained, how often, and which labels they make suspicious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch

from thresher.bench.catalogue import is_control
from thresher.bench.kept import Samples, read
from thresher.bench.report.drawing import Chart
from thresher.bench.report.runs import Together
from thresher.bench.report.specimens import Data, Specimen
from thresher.bench.report.views import Shown, View, percent
from thresher.diagnostics import Visits
from thresher.diagnostics.samples import by_excess

_PICTURES = 8
"""Samples shown at either end."""
_SUSPECTS = 16
_COLUMNS = 20
"""At most, of a histogram."""


@final
@dataclass(frozen=True, kw_only=True)
class Counted:
    """How often a row trained its samples.

    Args:
        shown: the row.
        samples: what was kept of one of its runs.
        visits: the counts, with their measures of evenness.
        histogram: of them; None if they are all the same.
        most: samples that were trained most often.
        least: samples that were trained least often.
    """

    shown: Shown
    samples: Samples
    visits: Visits
    histogram: Chart | None
    most: list[Specimen] = field(default_factory=list[Specimen])
    least: list[Specimen] = field(default_factory=list[Specimen])

    @property
    def starved(self) -> str:
        """The share of samples with fewer than half of the mean number of visits."""
        return percent(self.visits.share_below(self.visits.mean / 2), 1)


@final
@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Which labels a row makes suspicious, and how many of them are known to be wrong.

    Args:
        shown: the row.
        first: the most suspected samples.
        precision: share of known wrong labels among the k most suspected, by k; empty if unknown.
    """

    shown: Shown
    first: list[Specimen]
    precision: Mapping[int, float]


def counted(group: Together, view: View, data: Data | None) -> list[Counted]:
    """Return the counts of every row of a view of which samples are kept."""
    found: list[Counted] = []
    for shown in view.shown:
        run = next(iter(group.records[shown.line.row].values()))
        samples = read(run["config"], group.folder)
        if samples is None or len(samples.visits) != group.num_samples:
            continue
        visits = Visits(
            counts=torch.from_numpy(samples.visits.astype(np.int64)), epochs=samples.epochs
        )
        is_uneven = bool((samples.visits != samples.visits[0]).any())
        # What chance has kept tells nothing.
        has_chosen = is_uneven and not is_control(shown.line.row.method)
        most, least = _ends(samples, data) if data is not None and has_chosen else ([], [])
        found.append(
            Counted(
                shown=shown,
                samples=samples,
                visits=visits,
                histogram=_histogram(shown, samples) if is_uneven else None,
                most=most,
                least=least,
            )
        )
    return found


def _ends(samples: Samples, data: Data) -> tuple[list[Specimen], list[Specimen]]:
    """Return who was trained most and least; among equals the hardest and the easiest."""
    excess = np.nan_to_num(samples.excess.astype(np.float32), nan=-np.inf)
    order = np.lexsort((excess, samples.visits))

    def specimens(ids: np.ndarray) -> list[Specimen]:
        notes = (f"trained {samples.visits[each]}×" for each in ids)
        return [data.specimen(int(each), note) for each, note in zip(ids, notes, strict=True)]

    return specimens(order[::-1][:_PICTURES]), specimens(order[:_PICTURES])


def _histogram(shown: Shown, samples: Samples) -> Chart:
    visits, size = samples.visits.astype(np.int64), len(samples.visits)
    # A method that draws again within an epoch may train a sample more often than there are epochs.
    most = max(samples.epochs, int(visits.max()))
    width = -(-(most + 1) // _COLUMNS)
    counts = np.bincount(visits // width)
    shares = 100 * counts / size
    peak = int(counts.argmax())
    words = f"{peak * width}" if width == 1 else f"{peak * width} to {peak * width + width - 1}"
    chart = Chart(
        title=shown.name,
        alt=f"Histogram of how often {shown.name} trained a sample: most, {shares[peak]:.0f} %, "
        f"were trained {words} times in {samples.epochs} epochs.",
        x=(-0.5, -(-(most + 1) // width) * width - 0.5),
        y=(0.0, max(8.0, 1.05 * float(shares.max()))),
        x_label="times trained",
        y_label="% of samples",
        height=190,
        width=300,
    )
    for index, share in enumerate(shares.tolist()):
        low, high = index * width - 0.45, (index + 1) * width - 0.55
        if share:
            times = f"{index * width}" + (f" to {(index + 1) * width - 1}" if width > 1 else "")
            chart.box(low, high, share, shown.style, f"trained {times} times: {share:.1f} %")
    return chart


def suspicions(rows: Sequence[Counted], data: Data | None, *, show: bool = True) -> list[Suspicion]:
    """Return the most suspected samples of each row, and how right the suspicion is if known.

    Args:
        rows: of which samples are kept.
        data: the task's, if they were found.
        show: whether samples are wanted, too.
    """
    wrong = None if data is None else data.wrong
    return [
        Suspicion(
            shown=row.shown,
            first=_first(row, data) if show and data is not None and _is_asked(row) else [],
            precision=precision(by_excess(row.samples.excess), wrong),
        )
        for row in rows
        if np.isfinite(row.samples.excess).any()
    ]


def _is_asked(row: Counted) -> bool:
    """Of full training and of the methods; what chance has kept would show the same samples."""
    method = row.shown.line.row.method
    return method == "full" or not is_control(method)


def _first(row: Counted, data: Data) -> list[Specimen]:
    ids = by_excess(row.samples.excess)[:_SUSPECTS]
    return [
        data.specimen(int(each), f"excess {float(row.samples.excess[each]):+.1f}") for each in ids
    ]


def precision(suspects: np.ndarray, wrong: np.ndarray | None) -> dict[int, float]:
    """Return the share of wrong labels among the k most suspected, for several k.

    The last k is the number of wrong labels: there, precision and recall are the same.

    Args:
        suspects: all ids, the most suspected first.
        wrong: bool, (n,), or None if nobody knows.

    Example:
        >>> precision(np.array([2, 0, 1, 3]), np.array([True, False, True, False]))
        {2: 1.0}
    """
    if wrong is None or not wrong.any():
        return {}
    num = int(wrong.sum())
    hits = np.cumsum(wrong[suspects])
    marks = [k for k in (10, 50, 100, 500, 1000, 5000, 10_000) if k < num]
    return {k: float(hits[k - 1] / k) for k in [*marks, num]}


def precision_chart(rows: Sequence[Suspicion], share: float) -> Chart | None:
    """Return precision against how many are looked at; None if no label is known to be wrong."""
    known = [row for row in rows if row.precision]
    if not known:
        return None
    marks = list(known[0].precision)
    ends = ", ".join(f"{row.shown.name} {percent(row.precision[marks[-1]])}" for row in known)
    chart = Chart(
        title="How many of the suspected labels are wrong",
        alt=f"Line chart of precision against the number of suspects. Of the first {marks[-1]:,}: "
        f"{ends}; by chance {percent(share)}.",
        x=(0.0, 1.02 * marks[-1]),
        y=(0.0, 103.0),
        x_label="most suspected samples looked at",
        y_label="known to be wrong, %",
    )
    chart.line(chart.x, [100 * share] * 2, "chance", "by chance")
    for row in known:
        values = [100 * row.precision[mark] for mark in marks]
        chart.line(marks, values, row.shown.style, row.shown.name)
        chart.point(marks[-1], values[-1], row.shown.style, f"{row.shown.name}: {values[-1]:.0f} %")
    return chart
