"""Row 4: planning and closing at sizes where memory decides; a process of its own for each run.

The run is a real one below the loader: every batch of 128 is reduced with its ids. Peak memory is
the most that the process held while it closed an epoch and planned the next one (Linux's VmHWM,
reset before), less what it held before the Pruner was made: ledger, trace, old and new plan,
temporaries, everything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import thresher
from parts.common import BATCH, FLOAT64, METHODS, Line, scores_of

_EPOCHS = 3  # plans of epochs 1 to 3 are measured: the first two close a full and a pruned epoch


def memory(name: str) -> int:
    """Return a field of this process's status in bytes: VmRSS, or VmHWM, its peak."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(name):
            return int(text.split()[1]) * 1024
    raise OSError(f"{name} is not in /proc/self/status: this needs Linux")


def reset_peak() -> None:
    """Let VmHWM start again from what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def answered() -> bool:
    """Whether this process is one of those that `run` starts; then print what it measured."""
    if sys.argv[1:2] != ["--child"]:
        return False
    label, size, ratio, dtype = sys.argv[2:]
    print(json.dumps(_child(label, int(size), float(ratio), getattr(torch, dtype))))
    return True


def _child(
    label: str, num_samples: int, prune_ratio: float, score_dtype: torch.dtype
) -> dict[str, Any]:
    """Train a few epochs in this process; return what each planning cost."""
    torch.set_num_threads(1)
    losses = torch.empty(1 << 20).exponential_(generator=torch.Generator().manual_seed(0))
    parts = losses.split(BATCH)
    method = METHODS[label][0](prune_ratio)
    warm = thresher.Pruner(method, epochs=1000, num_samples=1000, score_dtype=score_dtype)
    for epoch in range(3):
        train(warm, warm.plan(epoch), losses, parts)
    before = memory("VmRSS")
    pruner = thresher.Pruner(method, epochs=1000, num_samples=num_samples, score_dtype=score_dtype)
    found: list[dict[str, float]] = []
    for epoch in range(_EPOCHS + 1):
        between = memory("VmRSS")
        reset_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        plan = pruner.plan(epoch)
        found.append(
            {
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "bytes": (memory("VmHWM") - before) / num_samples,
                "planned": len(plan) / num_samples,
                "bytes_before": (between - before) / num_samples,
            }
        )
        if epoch < _EPOCHS:
            train(pruner, plan, losses, parts)
    return {"plans": found, "training_bytes": (memory("VmHWM") - before) / num_samples}


def train(
    pruner: thresher.Pruner,
    plan: thresher.Plan,
    losses: torch.Tensor,
    parts: tuple[torch.Tensor, ...],
) -> None:
    """Reduce every batch of a plan, each with some losses."""
    ids, size = plan.ids, len(plan)
    for number, start in enumerate(range(0, size, BATCH)):
        stop = min(start + BATCH, size)
        some = parts[number % len(parts)][: stop - start]
        pruner.reduce(some, scores=scores_of(pruner, some), ids=ids[start:stop])


def run(label: str, size: int, prune_ratio: float, dtype: str = "float32") -> dict[str, Any]:
    """Return what a process of its own measures."""
    script = Path(sys.argv[0]).resolve()
    command = [sys.executable, str(script), "--child", label, str(size), str(prune_ratio), dtype]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(sizes: list[int], prune_ratio: float, only: list[str]) -> list[Line]:
    """Return the lines of row 4, the sizes of each method after each other."""
    lines: list[Line] = []
    for label in only:
        before: float | None = None
        for size in sizes:
            found = run(label, size, prune_ratio)
            plans = found["plans"][1:]
            cpu = max(plan["cpu"] for plan in plans)
            case = f"{size:.0e} {label}"
            more: dict[str, Any] = {
                "cpu of each plan": " ".join(f"{plan['cpu']:.2f}" for plan in plans),
                "bytes of each": " ".join(f"{plan['bytes']:.1f}" for plan in plans),
                "planned": " ".join(f"{plan['planned']:.2f}" for plan in plans),
            }
            # The budgets are for 10^8. Of smaller arrays the allocator keeps some for later.
            is_judged = size >= 10**8
            has_chances = any(part in label for part in FLOAT64)
            limit = (56 if has_chances else 40) if is_judged else None
            peak = max(plan["bytes"] for plan in plans)
            lines.append(Line("4 scale", f"{case}: peak", peak, "B/sample", limit))
            if is_judged:
                lines.append(Line("4 scale", f"{case}: seconds", cpu, "s", 20.0, more=more))
            else:
                lines.append(Line("4 scale", f"{case}: seconds", cpu, "s", more=more))
            if before is not None:
                growth = cpu / size / before
                lines.append(Line("4 scale", f"{case}: growth per sample", growth, "x", 2.5))
            before = cpu / size
    return lines
