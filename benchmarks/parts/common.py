"""Methods under test, environment, result rows, tables and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch

import thresher
from thresher.bench.provenance import commit, machine, versions

BATCH = 128

# Bounds of docs/architecture.md, in seconds per 10^6 samples: with an order statistic or a solver
# a rule may take more, and with a clustering more again.
QUICK, WITH_ORDER, WITH_CLUSTERS = 0.10, 0.15, 0.50

METHODS: dict[str, tuple[Callable[[float], thresher.methods.Method], float]] = {
    "Full": (lambda _: thresher.Full(), WITH_ORDER),
    "Random fresh": (lambda p: thresher.RandomPruning(prune_ratio=p), WITH_ORDER),
    "Random cycle": (lambda p: thresher.RandomPruning(prune_ratio=p, mode="cycle"), WITH_ORDER),
    "InfoBatch": (lambda p: thresher.InfoBatch(prune_ratio=p), QUICK),
    "RePB": (lambda p: thresher.RePB(prune_ratio=p), QUICK),
    "OrderDP": (lambda p: thresher.OrderDP(prune_ratio=p), WITH_ORDER),
    "Omission systematic": (
        lambda p: thresher.Omission(prune_ratio=p, sampling="systematic"),
        WITH_ORDER,
    ),
    "Omission bernoulli": (
        lambda p: thresher.Omission(prune_ratio=p, sampling="bernoulli"),
        WITH_ORDER,
    ),
    "Omission large batch": (
        lambda p: thresher.Omission(prune_ratio=p, large_batch=2 * BATCH),
        WITH_ORDER,
    ),
    "Historical replacement": (
        lambda p: thresher.HistoricalReplacement(prune_ratio=p),
        WITH_ORDER,
    ),
    "Historical ranking": (lambda p: thresher.HistoricalRanking(prune_ratio=p), WITH_ORDER),
    "Random within batch": (lambda p: thresher.RandomWithinBatch(prune_ratio=p), WITH_ORDER),
    "Persistent importance": (lambda p: thresher.PersistentImportance(prune_ratio=p), WITH_ORDER),
    "OrderDP max_staleness": (
        lambda p: thresher.OrderDP(prune_ratio=p, max_staleness=10),
        WITH_ORDER,
    ),
    "RePB importance": (
        lambda p: thresher.RePB(prune_ratio=p, rule=thresher.windows.Importance()),
        WITH_ORDER,
    ),
    "SeTa": (lambda p: thresher.SeTa(prune_ratio=p), WITH_CLUSTERS),
    "KAKURENBO": (lambda p: thresher.KAKURENBO(prune_ratio=p), WITH_ORDER),
    "EpsilonGreedy": (lambda p: thresher.EpsilonGreedy(prune_ratio=p), WITH_ORDER),
    "UCB": (lambda p: thresher.UCB(prune_ratio=p), WITH_ORDER),
}
"""Label -> (how it is made from a prune ratio, its bound in row 1)."""

FLOAT64 = ("Omission", "ranking", "importance")
"""Parts of the labels of rules with float64 probabilities, which may take more memory in row 4."""


def scores_of(
    pruner: thresher.Pruner, losses: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor] | None:
    """Return what a loop has to give beside the losses; any tensor is as dear as another.

    Where several are needed, all but the loss are 1: KAKURENBO then hides as many as it may.
    """
    needs, score = pruner.method.needs, losses.detach()
    if set(needs) <= {"loss"}:
        return None
    if len(needs) == 1:
        return score
    return {name: score if name == "loss" else torch.ones_like(score) for name in needs}


@final
@dataclass
class Line:
    """One line of a table: a measured value beside its bound, and what else was seen."""

    row: str
    case: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> bool | None:
        """Whether the bound holds; None without one."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def environment() -> dict[str, Any]:
    """Return what times depend on; the load says how busy other processes kept the machine."""
    return {
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def show(title: str, lines: list[Line]) -> None:
    """Print a table, with rich if it is installed."""
    names = list(dict.fromkeys(name for line in lines for name in line.more))
    header = ["case", "value", "bound", "", *names]
    body = [
        [line.case, *_verdict(line), *(_short(line.more.get(n)) for n in names)] for line in lines
    ]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(f"\n{title}")
        widths = [max(len(r[k]) for r in [header, *body]) for k in range(len(header))]
        for cells in [header, *body]:
            print("  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)))
        return
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place == 0)
    for cells in body:
        colour = {"FAIL": "red", "pass": "green"}.get(cells[3], "")
        table.add_row(*cells, style=colour if cells[3] == "FAIL" else "")
    Console(width=max(160, Console().width)).print(table)


def _verdict(line: Line) -> list[str]:
    bound = ""
    if line.bound is not None:
        bound = f"{'≥' if line.at_least else '≤'} {line.bound:.4g}"
    verdict = {None: "", True: "pass", False: "FAIL"}[line.passes]
    return [f"{line.value:.4g} {line.unit}", bound, verdict]


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(
    path: Path,
    lines: list[Line],
    before: dict[str, Any],
    settings: dict[str, Any],
    more: dict[str, Any] | None = None,
) -> None:
    """Write everything that was measured as JSON."""
    content = {
        "settings": settings,
        "environment": before,
        "load_average_after": [round(load, 2) for load in os.getloadavg()],
        "lines": [asdict(line) | {"passes": line.passes} for line in lines],
        **(more or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    failed = [f"{line.row}: {line.case}" for line in lines if line.passes is False]
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nload average (1/5/15 min): {load} on {os.cpu_count()} CPUs")
    print(f"{len(failed)} bounds fail" + "".join(f"\n  {name}" for name in failed))
