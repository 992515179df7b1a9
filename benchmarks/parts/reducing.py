"""Rows 3 and 6: one `reduce` on top of `losses.mean()`, and the import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from torch.utils.data import DataLoader

import thresher
from parts.common import BATCH, METHODS, Line, scores_of
from parts.selection import Losses, Nothing, same


def measure(num_samples: int, prune_ratio: float, repetitions: int, only: list[str]) -> list[Line]:
    """Return the lines of row 3, from epochs whose plans are weighted where a method weights."""
    return [_reduce(label, num_samples, prune_ratio, repetitions) for label in only]


def _reduce(label: str, num_samples: int, prune_ratio: float, repetitions: int) -> Line:
    losses = Losses(num_samples)
    pruner = thresher.Pruner(METHODS[label][0](prune_ratio), epochs=1000)
    plain = DataLoader(Nothing(num_samples), BATCH, shuffle=True, collate_fn=same)
    loader: Any = pruner.wrap(plain)
    found: list[float] = []
    for turn in range(repetitions + 3):
        batches = iter(loader)
        each = losses.batches(len(batches.progress.plan))
        spent: list[float] = []
        bare: list[float] = []
        for _, loss in zip(batches, each, strict=True):
            scores = scores_of(pruner, loss)
            start = time.perf_counter()
            pruner.reduce(loss, scores=scores)
            middle = time.perf_counter()
            loss.mean()
            bare.append(time.perf_counter() - middle)
            spent.append(middle - start)
        if turn >= 3:
            # The median step is one in which no other process got the core.
            found.append((statistics.median(spent) - statistics.median(bare)) * 1e6)
    more = {"median": statistics.median(found)}
    return Line("3 reduce", label, min(found), "µs", 6.0, more=more)


def synchronisations() -> str:
    """Train two epochs on a GPU with every synchronisation an error; say so where there is none."""
    if not torch.cuda.is_available():
        return "3 reduce on a GPU: not measured, this machine has none"
    pruner = thresher.Pruner(thresher.RePB(prune_ratio=0.5), epochs=9)
    loader: Any = pruner.wrap(DataLoader(Nothing(10_000), BATCH, shuffle=True, collate_fn=same))
    for _ in range(3):
        for batch, _ in enumerate(loader):
            size = min(BATCH, len(pruner.plan(pruner.epoch)) - batch * BATCH)
            losses = torch.rand(size, device="cuda", requires_grad=True)
            torch.cuda.set_sync_debug_mode("error" if batch else "default")
            pruner.reduce(losses).backward()
            torch.cuda.set_sync_debug_mode("default")
    return "3 reduce on a GPU: no synchronisation in any step after an epoch's first"


def measure_import(repetitions: int) -> list[Line]:
    """Return row 6: `import thresher` in a process that has imported torch."""
    code = (
        "import time, torch; start = time.process_time(); import thresher; "
        "print(time.process_time() - start)"
    )
    command = [sys.executable, "-c", code]
    times = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repetitions)
    ]
    more = {"median": statistics.median(times)}
    case = "import thresher after import torch"
    return [Line("6 import", case, min(times), "s", 0.15, more=more)]
