"""What scores in fewer bytes cost: in accuracy, in plans and weights, in time; and what they save.

    python benchmarks/score_dtype.py

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from parts import scale
from parts.common import environment
from parts.narrow import DTYPES, METHODS, Change, changes, lognormal, real

_RESULTS = Path(__file__).parent / "results"


def _size(label: str, size: int, ratio: float) -> list[dict[str, Any]]:
    """Time and memory of planning and closing, of which the dearest epoch counts."""
    rows: list[dict[str, Any]] = []
    for dtype in DTYPES:
        plans = scale.run(label, size, ratio, dtype)["plans"][1:]
        row = {
            "method": label,
            "dtype": dtype,
            "num_samples": size,
            "cpu_seconds": max(plan["cpu"] for plan in plans),
            "bytes_before": max(plan["bytes_before"] for plan in plans),
            "bytes_at_the_peak": max(plan["bytes"] for plan in plans),
        }
        rows.append(row)
        print(
            f"{label:22} {dtype:9} {row['cpu_seconds']:7.3f} s  {row['bytes_before']:6.1f} B"
            f" {row['bytes_at_the_peak']:6.1f} B",
            flush=True,
        )
    return rows


def _show(change: Change) -> None:
    print(
        f"{change.scores:14} {change.method:24} {change.dtype:9} {change.bytes_per_sample:2}  "
        f"{change.score_error:9.2e} {change.largest_score_error:9.2e}  {change.same_history:8.4%} "
        f"{change.own_history:8.4%} {change.another_seed:8.4%}  "
        f"{change.weight_error:9.2e} {change.largest_weight_error:9.2e}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    if scale.answered():
        return
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=float, default=1e5, help="of the made-up scores")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--prune-ratio", type=float, default=0.3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--size", type=float, default=1e7, help="of time and memory; 0: neither")
    parser.add_argument("--out", type=Path, default=_RESULTS / "score-dtype.json")
    given = parser.parse_args()
    before = environment()
    tables = {
        "log-normal": lognormal(int(given.samples), given.epochs),
        "Fashion-MNIST": real(given.epochs),
    }
    print("scores, method, dtype, bytes; error of scores: rms, largest; share of the plan that")
    print("differs: same history, own history, another seed; error of weights: rms, largest")
    found: list[Change] = []
    for name, table in tables.items():
        for label in given.methods:
            for change in changes(name, label, table, given.prune_ratio):
                _show(change)
                found.append(change)
    sizes: list[dict[str, Any]] = []
    if given.size:
        print(f"\nplanning and closing, {given.size:.0e} samples: CPU s; B a sample before, peak")
        for label in ("InfoBatch", "OrderDP", "Omission systematic"):
            sizes += _size(label, int(given.size), given.prune_ratio)
    content = {
        "settings": {key: str(value) for key, value in vars(given).items() if key != "out"},
        "environment": before,
        "changes": [asdict(change) for change in found],
        "sizes": sizes,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
