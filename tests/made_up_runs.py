"""Sweeps whose runs take no time: a runner that makes records up, and what they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from thresher.bench.experiment import Experiment, Question
from thresher.bench.suite import Row, RunConfig, Source, asked_rows
from thresher.bench.sweep import Sweep
from thresher.bench.workers import Event, Failed, Finished, Started

Metric = Callable[[RunConfig], float]


def record(config: RunConfig, metric: float, rate: float | None = None) -> dict[str, Any]:
    saved = (config.prune_ratio or 0.0) if rate is None else rate
    return {
        "key": config.key,
        "config": config.as_dict(),
        "metric": metric,
        "samples_trained": round(1000 * (1 - saved)),
        "extra_forwards": 0,
        "prune_rate": saved,
        "seconds": {"training": 10 * (1 - saved), "evaluation": 1.0},
        "notes": [],
        "epochs": [],
    }


class Runner:
    """Stands in for `workers.run_all`; keeps the order in which runs were made, and their data.

    Args:
        metric: what a run reaches.
        fails: whether a row fails.
        rates: what a row saves, where it is not what it was asked for.
    """

    def __init__(
        self,
        metric: Metric = lambda _: 90.0,
        fails: Callable[[Row], bool] | None = None,
        rates: Mapping[Row, float] | None = None,
    ):
        self.metric, self.fails, self.rates = metric, fails or (lambda _: False), rates or {}
        self.made: list[str] = []
        self.folders: dict[Source, str] = {}

    def __call__(
        self,
        configs: Iterable[RunConfig | None],
        *,
        num_workers: int,
        folders: Mapping[Source, str],
    ) -> Iterator[Event]:
        self.folders |= folders
        for config in configs:
            assert config is not None, "nobody else is at work"
            self.made.append(f"{config.task} {row(config)} {config.seed}")
            yield Started(0, config)
            if self.fails(row(config)):
                yield Failed(0, config, "ValueError: no luck", "Traceback")
            else:
                made = record(config, self.metric(config), self.rates.get(row(config)))
                yield Finished(0, config, made)


def row(config: RunConfig) -> Row:
    return Row(config.method, config.prune_ratio, config.step_exponent)


def question(**changes: Any) -> Question:
    rows = tuple(asked_rows(["repb"], [0.5], [None]))
    return Question(**{"task": "digits", "rows": rows, "seeds": (0, 1, 2), "epochs": 10} | changes)


def sweep(
    folder: Path, runner: Runner, questions: Mapping[str, Question] | None = None
) -> tuple[Sweep, io.StringIO]:
    experiments = {
        name: Experiment(each, folder / name)
        for name, each in (questions or {"digits": question()}).items()
    }
    said = io.StringIO()
    console = Console(file=said, width=200)
    return Sweep(experiments, console, num_workers=1, runner=runner), said
