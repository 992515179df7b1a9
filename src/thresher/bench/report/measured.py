"""What was measured of each row beside its result: seconds by part, epochs, samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.bench.report import attention
from thresher.bench.report.specimens import data_of
from thresher.bench.report.story import Story
from thresher.bench.report.views import views_of

_OF_EPOCHS = ("metric", "trained", "weight_mean", "weight_max", "extra_forwards", "seconds")


def measured(runs: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over a row's runs: `seconds_by_part`, and a list for each number by epoch.

    Example:
        >>> measured([{"seconds": {"training": 2.0}, "epochs": [{"trained": 8}, {"trained": 4}]}])
        {'seconds_by_part': {'training': 2.0}, 'by_epoch': {'trained': [8.0, 4.0]}}
    """
    parts = dict.fromkeys(part for run in runs for part in run["seconds"])
    num_epochs = min(len(run.get("epochs") or ()) for run in runs)
    by_epoch = {
        name: [_mean(run["epochs"][epoch].get(name) for run in runs) for epoch in range(num_epochs)]
        for name in _OF_EPOCHS
        if all(name in run["epochs"][0] for run in runs if num_epochs)
    }
    return {
        "seconds_by_part": {
            part: _mean(run["seconds"].get(part, 0.0) for run in runs) for part in parts
        },
        "by_epoch": by_epoch if num_epochs else {},
    }


def _mean(values: Any) -> float:
    numbers = [math.nan if value is None else float(value) for value in values]
    return round(math.fsum(numbers) / len(numbers), 4)


def kept(story: Story, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return how often rows trained their samples, and how right their suspicions of labels are.

    Of the rows of the main ratio, as on the page; `wrong_among_suspects` has the share of known
    wrong labels among the k most suspected, by k, where the task's data are found and tell.
    """
    views = views_of(story.lines)
    if not views or not (rows := attention.counted(story.group, views[0], None)):
        return []
    data = data_of(story.group.task, str(story.group.common.get("data", "")), folders)
    wrong = {
        each.shown.line.row: each.precision for each in attention.suspicions(rows, data, show=False)
    }
    return [
        {
            "method": row.shown.line.row.method,
            "asked": row.shown.line.row.prune_ratio,
            "mean_visits": row.visits.mean,
            "share_below_half_of_the_mean": row.visits.share_below(row.visits.mean / 2),
            "wrong_among_suspects": wrong.get(row.shown.line.row, {}),
        }
        for row in rows
    ]
