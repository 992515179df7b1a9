"""The lines of a comparison tell how long it will take."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from typing import Any

import pytest
from rich.console import Console

from bench.test_suite import CONFIG
from thresher.bench.display import Display
from thresher.bench.suite import RunConfig
from thresher.bench.workers import Finished, Started

_FULL = replace(CONFIG, method="full", setting="Full()", prune_ratio=None)


def record(config: RunConfig) -> dict[str, Any]:
    return {
        "config": asdict(config),
        "metric": 90.0,
        "prune_rate": 0.0,
        "seconds": {"training": 30.0, "cpu": 30.0, "evaluation": 0.0},
    }


@pytest.mark.parametrize(("workers", "expected"), [(1, "2 min 30 s"), (2, "1 min 15 s")])
def test_workers_share_what_is_left_also_when_one_of_them_has_just_ended_a_run(
    workers: int, expected: str
) -> None:
    configs = [replace(_FULL, seed=seed) for seed in range(6)]
    text = io.StringIO()
    with Display(Console(file=text), configs, lambda _: None) as display:
        for worker in range(workers):
            display.show(Started(worker, configs[worker]))
        display.show(Finished(0, configs[0], record(configs[0])))
    assert f"about {expected} left" in text.getvalue().replace("\n", " ")
