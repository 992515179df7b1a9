"""The lines of docs/logging.md, run as they are printed there, behind a small run."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from thresher import Pruner, RePB

PAGE = Path(__file__).parents[3] / "docs" / "logging.md"

Told = list[tuple[dict[str, float], int]]
"""What `log` was called with."""


def snippet(name: str, **names: Any) -> dict[str, Any]:
    """Return what the lines behind a marker define."""
    text = PAGE.read_text("utf-8")
    [code] = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, f"{PAGE.name}, {name}", "exec"), names)
    return names


def told_by_a_run(log: Any) -> Told:
    """Train a few epochs with `log`, the last one told of as the page says; return what it was."""
    told: Told = []

    def both(metrics: dict[str, float], step: int) -> None:
        told.append((metrics, step))
        log(metrics, step)

    pruner = Pruner(RePB(prune_ratio=0.5), epochs=4, log=both)
    loader = pruner.wrap(DataLoader(torch.rand(40), 5, shuffle=True))
    step = 0
    for _ in range(4):
        for losses in loader:
            pruner.reduce(losses)
            step += 1
    both(pruner.report().metrics(), step)
    assert [metrics["epoch"] for metrics, _ in told] == [0, 1, 2, 3]
    return told


def curves(told: Told) -> dict[str, dict[int, float]]:
    """What a logger should have: by name, the value at each step; without what is no number."""
    found: dict[str, dict[int, float]] = {}
    for metrics, step in told:
        for name, value in metrics.items():
            if not math.isnan(value):
                found.setdefault(f"thresher/{name}", {})[step] = value
    assert {"thresher/trained_ratio", "thresher/weight_max", "thresher/rho"} <= found.keys()
    return found
