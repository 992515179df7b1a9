"""Gradient fidelity, if it was measured: the file of `benchmarks/gradient_fidelity.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE = "gradient_fidelity.json"
"""In the folder of the runs."""

_PHASES = ("early", "middle", "late")
_KINDS = ("cosine", "bias", "variance")


class Fidelity(NamedTuple):
    """What the methods did to the gradient of one task.

    Args:
        title: the task and the network.
        columns: kind of number and phase of training.
        rows: a method, and its number for each column, mean over seeds.
    """

    title: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[float]]]


def measured(folder: Path) -> list[Fidelity]:
    """Return what was measured, by task; nothing if there is no such file or it cannot be read."""
    path = folder / FILE
    try:
        tasks = json.loads(path.read_bytes())["tasks"]
        return [_table(task) for task in tasks if task.get("gradients")]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _table(task: Mapping[str, Any]) -> Fidelity:
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for each in task["gradients"]:
        for kind in _KINDS:
            value = each[kind]
            number = float(value[0] if isinstance(value, list) else value)
            cell = found.setdefault(str(each["method"]), {})
            cell.setdefault((kind, str(each["phase"])), []).append(number)
    columns = [(kind, phase) for kind in _KINDS for phase in _PHASES]
    rows = [
        (method, [_mean(cells.get(column, [])) for column in columns])
        for method, cells in found.items()
    ]
    return Fidelity(str(task["title"]), columns, rows)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
