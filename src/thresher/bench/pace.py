"""How long runs take, from those that are finished, and so how long the rest will."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, final

from thresher.bench.suite import expected_epochs


@final
class Pace:
    """Seconds an epoch, by task.

    Args:
        records: of finished runs.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._seconds: dict[str, float] = {}
        self._epochs: dict[str, float] = {}
        for record in records:
            self.see(record)

    def see(self, record: Mapping[str, Any]) -> None:
        """Take one more finished run into account."""
        config = record["config"]
        try:
            task = config["task"]
            work = expected_epochs(config["method"], config["prune_ratio"], config["epochs"])
        except KeyError:  # a record of something else tells nothing
            return
        self._seconds[task] = self._seconds.get(task, 0.0) + whole(record)
        self._epochs[task] = self._epochs.get(task, 0.0) + work

    def seconds(self, task: str, epochs: float) -> float | None:
        """Return how long so many full epochs of a task take; of all tasks', if it has no run yet.

        None if no run is finished at all.
        """
        among = [task] if task in self._epochs else list(self._epochs)
        worked = math.fsum(self._epochs[each] for each in among)
        if worked <= 0:
            return None
        return epochs * math.fsum(self._seconds[each] for each in among) / worked


def whole(record: Mapping[str, Any]) -> float:
    """Return all of a run's seconds, evaluation too.

    Example:
        >>> whole({"seconds": {"training": 4.0, "cpu": 3.9, "evaluation": 1.0}})
        5.0
    """
    seconds = record["seconds"]
    parts = ("reference", "collecting", "selecting", "training", "evaluation")
    return math.fsum(seconds.get(part, 0.0) for part in parts)
